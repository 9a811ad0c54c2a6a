"use strict";
for (const block of document.querySelectorAll("pre.commands")) {
  for (const line of block.querySelectorAll("code")) {
    line.title = "click to copy";
    line.addEventListener("click", () => {
      if (navigator.clipboard) {
        navigator.clipboard.writeText(line.textContent).then(() => {
          line.classList.add("copied");
          setTimeout(() => line.classList.remove("copied"), 900);
        }, () => {});
      }
    });
  }
}
