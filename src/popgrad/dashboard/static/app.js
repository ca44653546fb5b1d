"use strict";
// The page: theme, bar at the top, and the way from an address to the list, a run or a comparison.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});
  const make = popgrad.element;
  const root = document.getElementById("popgrad");
  // popgrad.current is the page that is shown: for a console, and for tests.
  const page = { current: null, place: null, crumbs: null, light: null, banner: null, state: "" };

  // --- theme ------------------------------------------------------------------------------------

  function storedTheme() {
    try {
      return localStorage.getItem("popgrad-theme");
    } catch {
      return null; // a file:// page may have no storage
    }
  }

  function applyTheme(name) {
    document.documentElement.dataset.theme = name;
    if (page.current && page.current.redraw) page.current.redraw();
  }

  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  prefersDark.addEventListener("change", () => {
    if (!storedTheme()) applyTheme(prefersDark.matches ? "dark" : "light");
  });
  document.documentElement.dataset.theme = storedTheme() || (prefersDark.matches ? "dark" : "light");

  popgrad.setTheme = function (name) {
    try {
      localStorage.setItem("popgrad-theme", name);
    } catch {
      // The choice holds for this page only.
    }
    applyTheme(name);
  };

  // --- frame ------------------------------------------------------------------------------------

  function build() {
    page.crumbs = make("nav", { class: "crumbs", "aria-label": "Place" });
    page.light = make("span", { class: "connection", role: "status" });
    page.banner = make("div", { class: "banner", role: "status", hidden: true });
    page.place = make("main", { id: "place" });
    const theme = make("button", { type: "button", class: "quiet", "aria-label": "Light or dark",
      title: "Light or dark", onclick: () => popgrad.setTheme(popgrad.theme().dark ? "light" : "dark") }, "◐");
    root.replaceChildren(
      make("header", { class: "bar" },
        make("span", { class: "wordmark" }, "popgrad"), page.crumbs, page.light, theme),
      page.banner,
      page.place,
      make("div", { id: "announce", class: "unseen", "aria-live": "polite" }),
    );
  }

  // Show how the page stands with the server: "", "live", "done", "waiting", or "problem" with its
  // words; no words = the problem is over.
  popgrad.connection = function (state, words) {
    if (state === "problem") {
      page.banner.hidden = !words;
      page.banner.textContent = popgrad.visible(words);
      return;
    }
    const waiting = state === "waiting";
    if (state === page.state) return;
    if (waiting || page.state === "waiting") page.banner.hidden = !waiting;
    page.state = state;
    page.light.textContent = { live: "live", waiting: "no answer" }[state] || "";
    page.light.className = "connection" + (state ? " is-" + state : "");
    if (waiting) {
      page.banner.textContent = "The server does not answer. What is shown stays; the page connects again by itself.";
    }
  };

  popgrad.announce = (text) => (document.getElementById("announce").textContent = text);

  function crumbs(...parts) {
    page.crumbs.replaceChildren(
      ...parts.flatMap(([text, address]) => [
        make("span", { class: "crumb-mark", "aria-hidden": "true" }, "/"),
        address ? make("a", { href: address }, text) : make("span", {}, text),
      ]),
    );
  }
  popgrad.crumbs = crumbs;

  // --- pages ------------------------------------------------------------------------------------

  function leave() {
    if (page.current) page.current.destroy();
    page.current = popgrad.current = null;
    popgrad.selection.select(-1);
    popgrad.selection.setHover(-1);
    popgrad.tooltip.hide();
    page.place.replaceChildren();
    window.scrollTo(0, 0);
  }

  function route() {
    leave();
    const words = new URLSearchParams(location.hash.slice(1));
    if (words.get("run")) {
      const id = words.get("run");
      crumbs(["runs", "#"], [id]);
      page.current = popgrad.current = popgrad.runPage(page.place, popgrad.serverSource(id, popgrad.connection));
    } else if (words.get("compare")) {
      crumbs(["runs", "#"], ["comparison"]);
      page.current = popgrad.current = popgrad.comparePage(page.place, words.get("compare").split(","));
    } else {
      crumbs(["runs"]);
      document.title = "popgrad";
      page.current = popgrad.current = popgrad.listPage(page.place);
    }
  }

  function start() {
    build();
    const data = document.getElementById("popgrad-data");
    if (data) {
      const source = popgrad.embeddedSource(JSON.parse(data.textContent));
      crumbs([popgrad.visible(source.run.header.name)]);
      page.current = popgrad.current = popgrad.runPage(page.place, source);
    } else {
      window.addEventListener("hashchange", route);
      route();
    }
    window.addEventListener("resize", () => page.current && page.current.resize && page.current.resize());
  }

  start();
})();
