"use strict";
// Where a run comes from: the stream of a server, or the JSON in a report. Both feed a popgrad.Run.
(function () {
  const popgrad = (window.popgrad = window.popgrad || {});

  // The run in a report: everything is in the page.
  popgrad.embeddedSource = function (data) {
    const run = new popgrad.Run(data.header);
    run.append(data.segments);
    return {
      live: false,
      run,
      cardsLeftOut: data.cards_left_out || 0,
      start(changed) {
        changed();
      },
      stop() {},

      // Everything that is recorded of a segment; null = the report left it out.
      card(row) {
        const key = run.member[row] + "/" + run.interval[row];
        return Promise.resolve((data.cards || {})[key] || null);
      },

      // Schedule behind a segment as text. Formats: json, csv, torch.
      schedule(row, format) {
        const texts = data.schedules || {};
        if (row === run.winner && texts[format]) return Promise.resolve(texts[format]);
        const command = "popgrad schedule " + (data.header.directory || "DIR") + " --member " + run.member[row];
        return Promise.reject(new Error("the report holds the winner's schedule only; use " + command));
      },
    };
  };

  // A run on the server, as it grows. `connection` tells the page: "live", "waiting".
  popgrad.serverSource = function (id, connection) {
    const run = new popgrad.Run();
    const base = "api/runs/" + id;
    let stream = null;
    let retry = 0;
    let changed = () => {};

    function open() {
      stream = new EventSource(base + "/stream");
      stream.addEventListener("start", () => {
        run.clear();
        connection("live");
      });
      stream.addEventListener("header", (event) => {
        run.setHeader(JSON.parse(event.data));
        connection("live");
        changed();
      });
      stream.addEventListener("segments", (event) => {
        run.append(JSON.parse(event.data));
        changed();
      });
      stream.addEventListener("problem", (event) => connection("problem", JSON.parse(event.data).error));
      stream.onerror = () => {
        connection("waiting");
        if (stream.readyState !== EventSource.CLOSED) return; // it connects again by itself
        clearTimeout(retry);
        retry = setTimeout(open, 2000);
      };
    }

    return {
      live: true,
      run,
      start(listener) {
        changed = listener;
        open();
      },
      stop() {
        clearTimeout(retry);
        if (stream) stream.close();
      },
      card: (row) => popgrad.getJson(base + "/segments/" + run.member[row] + "/" + run.interval[row]),
      schedule(row, format) {
        const of = "&member=" + run.member[row] + "&interval=" + run.interval[row];
        return popgrad.getText(base + "/schedule?format=" + format + of);
      },
    };
  };

  popgrad.getText = async function (address) {
    const answer = await fetch(address, { headers: { Accept: "application/json, text/plain" } });
    const text = await answer.text();
    if (!answer.ok) throw new Error(message(text) || "the server answered " + answer.status);
    return text;
  };

  popgrad.getJson = async (address) => JSON.parse(await popgrad.getText(address));

  function message(text) {
    try {
      return JSON.parse(text).error;
    } catch {
      return "";
    }
  }
})();
