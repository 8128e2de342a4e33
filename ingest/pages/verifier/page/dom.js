// Elements, whose content is always text.

const element = (id) => document.getElementById(id);

/** Make an element; content is always text, never markup. */
const make = (name, { className = '', text = '' } = {}, ...children) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  made.append(...children);
  return made;
};
const listSection = (title, items, className) =>
  make('section', { className }, make('h2', { text: title }), make('ul', {}, ...items.map((text) => make('li', { text }))));
