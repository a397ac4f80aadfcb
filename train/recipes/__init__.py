"""The GAN family on small data: DCGAN, a conditional GAN and SRGAN, on the trainer's losses and journal."""
