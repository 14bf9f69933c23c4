"use strict";
// The page works without this; it adds search, enlarged pictures, points that can be turned, and names on the maps.
// Texts of others come into the page only as text (textContent), never as markup.
(() => {
  const $ = (selector, at = document) => at.querySelector(selector);
  const $$ = (selector, at = document) => [...at.querySelectorAll(selector)];
  document.documentElement.classList.add("js");
  const cards = $$(".card");

  // ------------------------------------------------------------------------------------------------- search and filter
  const form = $("#filter");
  const words = new Map();
  const wordsOf = (card) => {
    if (!words.has(card)) words.set(card, card.textContent.toLowerCase());
    return words.get(card);
  };
  const value = (id) => $(id)?.value ?? "";
  function filter() {
    const asked = value("#find").toLowerCase().split(/\s+/).filter(Boolean);
    const [label, split, status] = ["#by-class", "#by-split", "#by-status"].map(value);
    let shown = 0;
    for (const card of cards) {
      const { class: ofClass, split: ofSplit, status: ofStatus } = card.dataset;
      const fits =
        (!label || ofClass === label) &&
        (!split || ofSplit === split) &&
        (!status || ofStatus === status || (status === "ok" && ofStatus === "remark")) &&
        asked.every((word) => wordsOf(card).includes(word));
      card.hidden = !fits;
      shown += fits;
    }
    $("#count").textContent = `${shown} of ${cards.length} shapes on this page`;
    $("#nothing").hidden = shown > 0;
  }
  if (form) {
    form.hidden = false;
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter));
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.target.matches("input, select, dialog *")) {
        event.preventDefault();
        $("#find").focus();
      }
    });
    filter();
  }
  function go(row) {
    const card = document.getElementById(`s${row}`);
    if (!card) return false;
    if (card.hidden) {
      form.reset();
      filter();
    }
    card.scrollIntoView({ block: "center" });
    card.focus({ preventScroll: true });
    return true;
  }
  // Links to shapes that the filter hides must lead somewhere.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#s"]');
    if (link && /^#s\d+$/.test(link.hash) && go(link.hash.slice(2))) event.preventDefault();
  });

  // ----------------------------------------------------------------------------------------------------- enlarged pictures
  const viewer = $("#viewer");
  const canvas = $("#viewer-points");
  const image = $("#viewer-picture");
  const pen = canvas.getContext("2d");
  const KEYS = {
    points: "Drag or arrow keys: turn. Wheel, pinch, + and −: size. 0: as before. Page up and down: other pictures. Escape: close.",
    picture: "Arrow keys: other pictures. Up and down: other shapes. Escape: close.",
  };
  let card, buttons, at, cloud;
  const START = { azimuth: 35, elevation: 25, zoom: 1 };
  let eye = { ...START };

  function unpack(text) {
    // See packed_points in pictures.py: 11 bits each for x, y and z, then 5 each for red, green and blue.
    const raw = atob(text);
    const count = raw.length / 6;
    const xyz = new Float32Array(3 * count);
    const rgb = new Uint8Array(3 * count);
    for (let i = 0; i < count; i++) {
      const byte = (k) => raw.charCodeAt(6 * i + k);
      const high = (byte(0) << 16) | (byte(1) << 8) | byte(2);
      const low = (byte(3) << 16) | (byte(4) << 8) | byte(5);
      const places = [high >> 13, (high >> 2) & 2047, ((high & 3) << 9) | (low >> 15)];
      const colours = [(low >> 10) & 31, (low >> 5) & 31, low & 31];
      for (let k = 0; k < 3; k++) {
        xyz[3 * i + k] = (places[k] / 2047) * 2 - 1;
        rgb[3 * i + k] = (colours[k] * 255) / 31;
      }
    }
    let reach = 1e-9;
    for (let i = 0; i < count; i++) reach = Math.max(reach, Math.hypot(xyz[3 * i], xyz[3 * i + 1], xyz[3 * i + 2]));
    for (let i = 0; i < xyz.length; i++) xyz[i] /= reach; // now it fits into the picture, however it is turned
    return { count, xyz, rgb, label: null, chosen: null };
  }

  // Steps of the golden angle, with three lightnesses in turn: neighbours differ in both.
  const hues = (count) => Array.from({ length: count }, (_, i) => fromHsl((i * 137.5) % 360, 0.65, [0.42, 0.6, 0.75][i % 3]));
  function fromHsl(h, s, l) {
    const f = (n) => {
      const k = (n + h / 30) % 12;
      return Math.round(255 * (l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
    };
    return [f(0), f(8), f(4)];
  }

  function draw() {
    const side = canvas.width;
    const [a, e] = [(eye.azimuth * Math.PI) / 180, (eye.elevation * Math.PI) / 180];
    const [sa, ca, se, ce] = [Math.sin(a), Math.cos(a), Math.sin(e), Math.cos(e)];
    const { count, xyz, rgb, label, chosen } = cloud;
    const far = 3.6; // distance of the camera from the middle of the shape
    const scale = (side / 2) * 3.2 * eye.zoom;
    const x = new Float32Array(count), y = new Float32Array(count), near = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      const [px, py, pz] = [xyz[3 * i], xyz[3 * i + 1], xyz[3 * i + 2]];
      const forth = px * sa + pz * ca;
      near[i] = forth * ce + py * se;
      const depth = Math.max(far - near[i], 0.05);
      x[i] = side / 2 + ((px * ca - pz * sa) * scale) / depth;
      y[i] = side / 2 - ((py * ce - forth * se) * scale) / depth;
    }
    const order = Array.from(x.keys()).sort((i, j) => near[i] - near[j]);
    const size = Math.min((side * 0.5) / Math.sqrt(count), side * 0.03) * eye.zoom;
    pen.clearRect(0, 0, side, side);
    for (const i of order) {
      const colour = label ? label.colours[label.of[i]] ?? [140, 140, 140] : [rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]];
      const shade = 0.62 + 0.38 * Math.min(Math.max((near[i] + 1.2) / 2.4, 0), 1);
      const [r, g, b] = colour.map((v) => Math.round(v * shade));
      const dark = r + g + b < 130;
      pen.globalAlpha = chosen === null || label.of[i] === chosen ? 1 : 0.08;
      pen.fillStyle = `rgb(${r},${g},${b})`;
      pen.strokeStyle = dark ? `rgb(${r + 70},${g + 70},${b + 70})` : `rgb(${r * 0.65},${g * 0.65},${b * 0.65})`;
      pen.beginPath();
      pen.arc(x[i], y[i], (size * far) / (far - near[i]) / 1.6, 0, 7);
      pen.fill();
      pen.stroke();
    }
    pen.globalAlpha = 1;
  }
  let asked = 0;
  const redraw = () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      if (cloud) draw();
    });
  };
  function turn(right, up, zoom = 1) {
    eye.azimuth += right;
    eye.elevation = Math.min(Math.max(eye.elevation + up, -90), 90);
    eye.zoom = Math.min(Math.max(eye.zoom * zoom, 0.4), 8);
    redraw();
  }

  function pressed(group, button) {
    for (const other of $$("button", group)) other.setAttribute("aria-pressed", String(other === button));
  }
  function swatch([r, g, b]) {
    const box = document.createElement("span");
    box.className = "swatch";
    box.style.background = `rgb(${r},${g},${b})`;
    return box;
  }
  function showLabels(kinds) {
    const place = $("#viewer-labels");
    place.replaceChildren();
    place.hidden = !kinds.length;
    const add = (text, act, colour) => {
      const button = document.createElement("button");
      button.type = "button";
      if (colour) button.append(swatch(colour));
      button.append(document.createTextNode(text));
      button.addEventListener("click", () => {
        act(button);
        redraw();
      });
      place.append(button);
      return button;
    };
    const choices = [["colours", null], ...kinds.map((kind) => [`by ${kind.title}`, kind])];
    const tabs = choices.map(([text, kind]) => {
      const tab = add(text, () => {
        for (const other of tabs) other.setAttribute("aria-pressed", String(other === tab));
        for (const name of $$(".name", place)) name.remove();
        cloud.chosen = null;
        cloud.label = null;
        if (!kind) return;
        const colours = hues(kind.names.length);
        cloud.label = { of: Array.from(atob(kind.data), (letter) => letter.charCodeAt(0)), colours };
        kind.names.forEach((name, i) => {
          const button = add(name, () => {
            cloud.chosen = cloud.chosen === i ? null : i;
            for (const other of $$(".name", place)) other.setAttribute("aria-pressed", String(other === button && cloud.chosen !== null));
          }, colours[i]);
          button.classList.add("name");
          button.setAttribute("aria-pressed", "false");
        });
      });
      tab.setAttribute("aria-pressed", String(!kind));
      return tab;
    });
  }

  function show() {
    const button = buttons[at];
    const turning = button.classList.contains("turn") && card.dataset.points;
    const name = $("img", button).alt;
    canvas.hidden = !turning;
    image.hidden = Boolean(turning);
    $("#viewer-title").textContent = $("h3", card).textContent + (card.dataset.class ? ` · ${card.dataset.class}` : "");
    if (turning) {
      cloud = unpack(card.dataset.points);
      eye = { ...START };
      showLabels(JSON.parse(card.dataset.labels || "[]"));
      canvas.setAttribute("aria-label", `${cloud.count} ${name}, in three dimensions`);
      draw();
      canvas.focus();
    } else {
      cloud = null;
      showLabels([]);
      image.src = $("img", button).src;
      image.alt = name;
      if (document.activeElement === canvas || document.activeElement === document.body) $("#viewer-after").focus();
    }
    const what = turning ? `${cloud.count} points` : name.replace(/ of .*$/s, "");
    $("#viewer-text").textContent = `${at + 1} of ${buttons.length}: ${what}`;
    $("#viewer-hint").textContent = turning ? KEYS.points : KEYS.picture;
    for (const id of ["#viewer-before", "#viewer-after"]) $(id).disabled = buttons.length < 2;
  }
  function open(button) {
    card = button.closest(".card");
    buttons = $$(".open", card);
    at = buttons.indexOf(button);
    viewer.showModal();
    show();
  }
  function step(by) {
    at = (at + by + buttons.length) % buttons.length;
    show();
  }
  function otherShape(by) {
    const there = cards.filter((one) => !one.hidden && $(".open", one));
    const place = there.indexOf(card) + by;
    if (place < 0 || place >= there.length) return;
    card = there[place];
    buttons = $$(".open", card);
    at = Math.min(at, buttons.length - 1);
    show();
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".open");
    if (button) open(button);
  });
  $("#viewer-close").addEventListener("click", () => viewer.close());
  $("#viewer-before").addEventListener("click", () => step(-1));
  $("#viewer-after").addEventListener("click", () => step(1));
  viewer.addEventListener("click", (event) => {
    if (event.target === viewer) viewer.close(); // beside the dialog
  });
  viewer.addEventListener("close", () => {
    cloud = null;
    image.removeAttribute("src");
    const first = $(".open", card);
    if (document.activeElement === document.body) first.focus();
  });
  const TURNS = { ArrowLeft: [10, 0], ArrowRight: [-10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10], "+": [0, 0, 1.15], "=": [0, 0, 1.15], "-": [0, 0, 1 / 1.15] };
  const STEPS = { ArrowLeft: -1, PageUp: -1, ArrowRight: 1, PageDown: 1 };
  viewer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const turning = event.target === canvas && !canvas.hidden;
    if (turning && event.key in TURNS) turn(...TURNS[event.key]);
    else if (turning && event.key === "0") {
      eye = { ...START };
      redraw();
    } else if (event.key in STEPS) step(STEPS[event.key]);
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") otherShape(event.key === "ArrowDown" ? 1 : -1);
    else return;
    event.preventDefault();
  });

  // One finger or the mouse turns, two fingers change the size.
  const fingers = new Map();
  const spread = () => {
    const [one, two] = [...fingers.values()];
    return Math.hypot(one[0] - two[0], one[1] - two[1]);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before || !cloud) return;
    const apart = fingers.size === 2 ? spread() : 0;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 2) turn(0, 0, spread() / Math.max(apart, 1));
    else turn((before[0] - event.clientX) * 0.5, (event.clientY - before[1]) * 0.5);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    turn(0, 0, Math.exp(-event.deltaY * 0.0012));
  }, { passive: false });

  // ----------------------------------------------------------------------------------------------------------------- maps
  const atlas = $("#maps");
  if (!atlas) return;
  const shapes = JSON.parse(atlas.dataset.shapes);
  const maps = $$(".mapped", atlas).map((figure) => {
    const svg = $("svg", figure);
    const marks = $$("use", svg).map((mark) => ({ mark, row: mark.dataset.row, x: +mark.getAttribute("x"), y: +mark.getAttribute("y") }));
    return { svg, marks, byRow: new Map(marks.map((one) => [one.row, one])), ring: $(".ring", svg), tip: $(".tip", figure), now: null };
  });
  function select(map, one) {
    const [name, label, here] = shapes[one.row];
    map.tip.textContent = `${label ? `${label}: ` : ""}${name}${here ? "" : " (not on this page)"}`;
    for (const other of maps) {
      // The same shape on the other teachers' maps, too.
      const same = other.byRow.get(one.row);
      other.now = same ?? null;
      other.ring.setAttribute("cx", same ? same.x : -99);
      other.ring.setAttribute("cy", same ? same.y : -99);
      if (other !== map) other.tip.textContent = "";
    }
  }
  const seen = (one) => !one.mark.parentElement.classList.contains("dim");
  function nearest(map, event) {
    const box = map.svg.getBoundingClientRect();
    const scale = map.svg.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let best = null, least = 22 * scale;
    for (const one of map.marks) {
      const apart = Math.hypot(one.x - x, one.y - y);
      if (apart < least && seen(one)) [best, least] = [one, apart];
    }
    return best;
  }
  const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function onward(map, [dx, dy]) {
    let best = null, least = Infinity;
    for (const one of map.marks) {
      const [x, y] = [one.x - map.now.x, one.y - map.now.y];
      const along = x * dx + y * dy;
      const cost = along + 2.5 * Math.abs(x * dy - y * dx);
      if (along > 0 && cost < least && seen(one)) [best, least] = [one, cost];
    }
    return best;
  }
  for (const map of maps) {
    const { svg } = map;
    svg.setAttribute("tabindex", "0");
    svg.setAttribute("role", "application");
    let touched = null;
    svg.addEventListener("pointermove", (event) => {
      const one = nearest(map, event);
      if (one && event.pointerType !== "touch") select(map, one);
    });
    svg.addEventListener("click", (event) => {
      const one = nearest(map, event);
      if (!one) return;
      // The first tap of a finger tells the name, the second one goes.
      const first = event.pointerType === "touch" && touched !== one;
      touched = one;
      select(map, one);
      if (!first) go(one.row);
    });
    svg.addEventListener("focus", () => {
      if (!map.now && map.marks.some(seen)) select(map, map.marks.find(seen));
    });
    svg.addEventListener("keydown", (event) => {
      if (!map.now || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in WAYS) {
        const one = onward(map, WAYS[event.key]);
        if (one) select(map, one);
      } else if (event.key === "Enter") go(map.now.row);
      else return;
      event.preventDefault();
    });
  }
  const legend = $(".legend", atlas);
  legend?.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const only = button.getAttribute("aria-pressed") === "false" ? button.dataset.class : null;
    pressed(legend, only === null ? null : button);
    for (const group of $$("svg.map g", atlas)) group.classList.toggle("dim", only !== null && group.dataset.class !== only);
  });
})();
