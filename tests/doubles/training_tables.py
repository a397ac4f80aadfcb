"""Tables of training configurations that several tests use."""

GAN = """
[adversarial]
critic_steps = 2
[adversarial.critic]
kind = "patch"
width = 4
"""
