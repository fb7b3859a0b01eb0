// Code and tables that scroll sideways can be reached and scrolled by the keyboard.
const scrolled = () => {
  for (const node of document.querySelectorAll('article pre, article .table-wrapper')) {
    node.tabIndex = node.scrollWidth > node.clientWidth ? 0 : -1;
  }
};
addEventListener('DOMContentLoaded', scrolled);
addEventListener('resize', scrolled);
