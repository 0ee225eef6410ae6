// While a search runs the page looks for news by itself, as long as the reader wants it to and has nothing folded out.
const SECONDS = 30;
const box = document.createElement("input");
box.type = "checkbox";
box.checked = true;
const label = document.createElement("label");
label.append(box, ` reload every ${SECONDS} seconds`);
document.getElementById("refresh").replaceChildren(label);
setInterval(() => {
  if (box.checked && !document.hidden && !document.querySelector("details[open]")) location.reload();
}, 1000 * SECONDS);
