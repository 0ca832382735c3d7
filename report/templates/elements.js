// Elements of the page and of drawings. Text goes in as text nodes alone, never as markup.

const DRAWING = "http://www.w3.org/2000/svg";

function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(DRAWING, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// A name that may run from right to left, or be very long.
function named(text) {
  return make("bdi", { class: "name", title: text.length > 60 ? text : null }, text);
}

// The same where only plain text can stand: kept apart from the words around it.
function isolated(text, longest = 80) {
  const letters = Array.from(text.slice(0, 2 * longest));
  const shown = letters.length > longest ? `${letters.slice(0, longest).join("")}…` : letters.join("");
  return `\u2068${shown}\u2069`;
}

function button(label, onClick, attributes = {}) {
  const node = make("button", { type: "button", ...attributes }, label);
  node.addEventListener("click", onClick);
  return node;
}
