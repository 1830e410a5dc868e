// Elements out of text. Whatever was stored goes in as text, never as markup.

/** Return an element. properties: of the element, or data-… and aria-… attributes; children: elements or strings. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return an element of SVG with attributes. */
export function draw(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Return the element with that id. */
export const found = (id) => document.getElementById(id);

/** Return the parts of a text that the server has cut: [{text, mark}, …]. */
export const marked = (segments) =>
  segments.map((part) => (part.mark ? make("mark", {}, part.text) : document.createTextNode(part.text)));
