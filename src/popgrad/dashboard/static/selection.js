"use strict";
// The one selection of the page: the segment under the pointer, and the segment that was chosen.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const listeners = new Set();

  const selection = {
    hover: -1, // row under the pointer in any view; -1 = none
    row: -1, // row that was chosen; -1 = none

    setHover(row) {
      if (row === selection.hover) return;
      selection.hover = row;
      tell();
    },

    select(row) {
      if (row === selection.row) return;
      selection.row = row;
      tell();
    },

    // Call a function after each change; the function that is returned ends it.
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };

  function tell() {
    for (const listener of Array.from(listeners)) listener(selection);
  }

  popgrad.selection = selection;
  popgrad.views = popgrad.views || {};
})();
