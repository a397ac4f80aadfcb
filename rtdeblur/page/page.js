"use strict";
for (const divider of document.querySelectorAll(".pair input")) {
  const show = () => divider.parentElement.style.setProperty("--at", divider.value + "%");
  divider.addEventListener("input", show);
  show(); // browsers keep the values of a page that is reloaded
}
const pixels = document.getElementById("pixels");
const scale = () => document.body.classList.toggle("actual", pixels.checked);
pixels.addEventListener("change", scale);
scale();
