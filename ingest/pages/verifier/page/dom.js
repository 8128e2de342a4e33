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
/** What may be wider than the page: scrolled by itself, from the keyboard too. */
const region = (label, content) => {
  const made = make('div', { className: 'scroll' }, content);
  made.tabIndex = 0;
  made.setAttribute('role', 'region');
  made.setAttribute('aria-label', label);
  return made;
};
const listSection = (title, items, className) =>
  make('section', { className }, make('h2', { text: title }), make('ul', {}, ...items.map((text) => make('li', { text }))));
