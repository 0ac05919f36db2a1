"use strict";
// Draws flows on a canvas. Packets are painted as pixels of an image, so that a hundred thousand of them
// are no trouble; what is few (gaps, questions, marks) is drawn over it.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const canvas = byId("canvas");
  const context = canvas.getContext("2d");
  const tip = byId("tip");
  const LEFT = 74, RIGHT = 34, TOP = 8, BAND = 14, BOTTOM = 42;
  const NO_STATE = 255;
  const ASKED = 5, ANSWERED = 6, DENIED = 7, STALE = 8, HINTED = 9;
  const POINT_PX = 5;  // least size of a packet
  const NEAR_PX = 14;  // how far a pointer may be from a packet
  const EXTRAS = [
    ["gaps", "gaps"],
    ["questions", "questions, hints"],
    ["records", "record boundaries"],
    ["states", "tracker's state"],
    ["marks", "keys, halts"],
  ];

  // -- data

  const TYPES = { f8: Float64Array, u4: Uint32Array, i4: Int32Array, u1: Uint8Array };

  function column(text, type) {
    const raw = atob(text);
    const bytes = new Uint8Array(raw.length);
    for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
    return new TYPES[type](bytes.buffer);
  }

  function open(flow) {
    if (flow.opened) return flow;
    const unpack = (from, types) =>
      Object.fromEntries(Object.entries(types).map(([name, type]) => [name, column(from[name], type)]));
    flow.packets = unpack(flow.packets,
      { time: "f8", begin: "f8", size: "u4", frame: "u4", outcome: "u1", state: "u1" });
    flow.pieces = unpack(flow.pieces, { packet: "u4", offset: "u4", size: "u4", fate: "u1", record: "i4" });
    flow.records = unpack(flow.records, { begin: "f8", end: "f8", number: "f8", fate: "u1" });
    // Pieces are in the order of packets: where those of each packet begin.
    const first = new Uint32Array(flow.packets.time.length + 1);
    let packet = 0;
    for (let piece = 0; piece < flow.pieces.packet.length; piece++) {
      while (packet <= flow.pieces.packet[piece]) first[packet++] = piece;
    }
    while (packet < first.length) first[packet++] = flow.pieces.packet.length;
    flow.first = first;
    flow.opened = true;
    return flow;
  }

  /** The first index of a sorted column whose value is not below `value`. */
  function lower(values, value) {
    let low = 0, high = values.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (values[middle] < value) low = middle + 1; else high = middle;
    }
    return low;
  }

  // -- what is shown

  let flow = null;
  let view = { t0: 0, t1: 1, s0: 0, s1: 1 };
  let selected = -1;  // index of the packet that is named
  const hidden = new Set();
  const hiddenExtras = new Set();
  let dark = matchMedia("(prefers-color-scheme: dark)");
  let scheduled = false;
  let rest = [];  // of the last drawing, times in ms, for tests

  function colour(look) { return dark.matches ? look.dark : look.light; }

  function variable(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  function whole() {
    let low = 0, high = 1;
    for (const [begin, end] of flow.stream) { low = Math.min(low, begin); high = Math.max(high, end); }
    const time = Math.max(flow.end, 1000), size = high - low;
    return { t0: -time * .01, t1: time * 1.01, s0: low - size * .02, s1: high + size * .02 };
  }

  function area() {
    const box = canvas.getBoundingClientRect();
    return { width: box.width - LEFT - RIGHT, height: box.height - TOP - BOTTOM - BAND };
  }

  const x = (time, size) => LEFT + (time - view.t0) / (view.t1 - view.t0) * size.width;
  const y = (position, size) => TOP + (view.s1 - position) / (view.s1 - view.s0) * size.height;
  const timeAt = (px, size) => view.t0 + (px - LEFT) / size.width * (view.t1 - view.t0);
  const positionAt = (py, size) => view.s1 - (py - TOP) / size.height * (view.s1 - view.s0);

  function look(to) {
    const all = whole();
    const time = all.t1 - all.t0, size = all.s1 - all.s0;
    // From a tenth of a microsecond and 16 bytes to everything.
    const span = Math.min(Math.max(to.t1 - to.t0, 100), time);
    const bytes = Math.min(Math.max(to.s1 - to.s0, 16), size);
    const middle = (to.t0 + to.t1) / 2, centre = (to.s0 + to.s1) / 2;
    const t0 = Math.min(Math.max(middle - span / 2, all.t0), all.t1 - span);
    const s0 = Math.min(Math.max(centre - bytes / 2, all.s0), all.s1 - bytes);
    view = { t0, t1: t0 + span, s0, s1: s0 + bytes };
    schedule();
  }

  function zoom(factor, px, py, onlyTime, onlySequence) {
    const size = area();
    const time = timeAt(px, size), position = positionAt(py, size);
    const ft = onlySequence ? 1 : factor, fs = onlyTime ? 1 : factor;
    look({
      t0: time - (time - view.t0) * ft, t1: time + (view.t1 - time) * ft,
      s0: position - (position - view.s0) * fs, s1: position + (view.s1 - position) * fs,
    });
  }

  function move(dt, ds) {
    look({ t0: view.t0 + dt, t1: view.t1 + dt, s0: view.s0 + ds, s1: view.s1 + ds });
  }

  // -- drawing

  function schedule() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => { scheduled = false; draw(); });
  }

  function rgba(text) {
    const value = parseInt(text.slice(1), 16);
    return (255 << 24 | (value & 255) << 16 | (value >> 8 & 255) << 8 | value >> 16) >>> 0;
  }

  function paintPieces(ratio, size) {
    const width = Math.round(size.width * ratio), height = Math.round(size.height * ratio);
    if (width < 1 || height < 1) return;
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    const colours = data.fates.map((fate) => rgba(colour(fate)));
    const { time, begin } = flow.packets;
    const pieces = flow.pieces;
    const across = width / (view.t1 - view.t0), down = height / (view.s1 - view.s0);
    const point = Math.round(POINT_PX * ratio), half = point >> 1;
    const margin = point / across;
    const from = lower(time, view.t0 - margin), to = lower(time, view.t1 + margin);
    const calm = data.fates.map((fate) => fate.calm);
    const first = flow.first[from], last = flow.first[to];
    // What went well is painted first, so that it hides nothing.
    for (let count = 0; count < 2 * (last - first); count++) {
      const at = first + count % (last - first);
      if (calm[pieces.fate[at]] !== count < last - first || hidden.has(pieces.fate[at])) continue;
      const packet = pieces.packet[at];
      const low = begin[packet] + pieces.offset[at];
      const high = low + pieces.size[at];
      if (high < view.s0 || low > view.s1) continue;
      let top = Math.round((view.s1 - high) * down), bottom = Math.round((view.s1 - low) * down);
      // A thin piece is made large enough to be seen.
      if (bottom - top < half) { top = (top + bottom - half) >> 1; bottom = top + half; }
      const left = Math.max(0, Math.round((time[packet] - view.t0) * across) - half);
      const right = Math.min(width, left + point);
      bottom = Math.min(height, bottom);
      const value = colours[pieces.fate[at]];
      for (let row = Math.max(0, top); row < bottom; row++) {
        pixels.fill(value, row * width + left, row * width + right);
      }
    }
    return image;
  }

  /** Round steps of an axis: values of 1, 2 or 5 times a power of ten, or of two for bytes. */
  function steps(low, high, most) {
    const raw = (high - low) / most;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
    const found = [];
    for (let n = Math.ceil(low / step); n * step <= high; n++) found.push(n * step);
    return { step, found };
  }

  function nameTime(ns, step) {
    const [unit, name] = step >= 1e8 ? [1e9, "s"] : step >= 1e5 ? [1e6, "ms"] : step >= 100 ? [1e3, "µs"] : [1, "ns"];
    const digits = Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9));
    return `${(ns / unit).toFixed(digits)} ${name}`;
  }

  /** A moment, to the microsecond. */
  function exactly(ns) { return `${(ns / 1e6).toFixed(3)} ms`; }

  function nameBytes(bytes, step) {
    const [unit, name] = step >= 1e5 ? [1e6, "MB"] : step >= 1e3 ? [1e3, "kB"] : [1, "B"];
    const digits = Math.max(0, -Math.floor(Math.log10(step / unit) + 1e-9));
    return `${(bytes / unit).toFixed(digits)} ${name}`;
  }

  function draw() {
    const began = performance.now();
    const ratio = devicePixelRatio || 1;
    const box = canvas.getBoundingClientRect();
    const size = area();
    const width = Math.round(box.width * ratio), height = Math.round(box.height * ratio);
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const ink = variable("--ink"), soft = variable("--soft"), line = variable("--line");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    const image = paintPieces(ratio, size);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    context.lineWidth = 1;
    // Axes are drawn first, packets over them, and what is few on top.
    const layer = document.createElement("canvas");
    if (image) {
      layer.width = image.width; layer.height = image.height;
      layer.getContext("2d").putImageData(image, 0, 0);
    }
    drawAxes(size, soft, line);
    if (image) context.drawImage(layer, LEFT, TOP, size.width, size.height);
    drawStates(size);
    drawStream(size);
    context.save();
    context.beginPath();
    context.rect(LEFT, TOP, size.width, size.height);
    context.clip();
    if (!hiddenExtras.has("gaps")) drawGaps(size);
    if (!hiddenExtras.has("marks")) drawMarks(size, ink);
    if (!hiddenExtras.has("questions")) drawQuestions(size);
    drawSelected(size, ink);
    context.restore();
    const step = (view.t1 - view.t0) / 1000, bytes = (view.s1 - view.s0) / 1000;
    byId("range").textContent =
      `${nameTime(view.t0, step)} … ${nameTime(view.t1, step)}, ${nameBytes(view.s0, bytes)} … ${nameBytes(view.s1, bytes)}`;
    rest.push(performance.now() - began);
    if (rest.length > 100) rest.shift();
  }

  function drawAxes(size, soft, line) {
    context.strokeStyle = line;
    context.fillStyle = soft;
    context.textAlign = "right";
    context.textBaseline = "middle";
    const rows = steps(view.s0, view.s1, Math.max(2, size.height / 50));
    context.beginPath();
    for (const value of rows.found) {
      const at = Math.round(y(value, size)) + .5;
      context.moveTo(LEFT, at); context.lineTo(LEFT + size.width, at);
      context.fillText(nameBytes(value, rows.step), LEFT - 6, at);
    }
    context.stroke();
    const columns = steps(view.t0, view.t1, Math.max(2, size.width / 110));
    context.textAlign = "center";
    context.textBaseline = "top";
    const foot = TOP + size.height + BAND + 6;
    for (const value of columns.found) {
      const at = Math.round(x(value, size)) + .5;
      context.fillText(nameTime(value, columns.step), at, foot);
    }
    context.fillText("time", LEFT + size.width / 2, foot + 16);
    if (hiddenExtras.has("records")) return;
    const { begin, end, number } = flow.records;
    const from = Math.max(0, lower(begin, view.s0) - 1), to = lower(begin, view.s1);
    if (to - from > size.height / 14) return;
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.strokeStyle = soft;
    context.setLineDash([1, 3]);
    context.beginPath();
    for (let at = from; at < to; at++) {
      const place = Math.round(y(begin[at], size)) + .5;
      if (begin[at] >= view.s0) { context.moveTo(LEFT, place); context.lineTo(LEFT + size.width, place); }
      const middle = (Math.max(begin[at], view.s0) + Math.min(end[at], view.s1)) / 2;
      if (middle > view.s0) context.fillText(`record ${number[at] < 0 ? "?" : number[at]}`, LEFT + 4, y(middle, size));
    }
    context.stroke();
    context.setLineDash([]);
  }

  function drawStates(size) {
    if (hiddenExtras.has("states")) return;
    const top = TOP + size.height + 2;
    for (const [begin, end, state] of flow.spans) {
      if (end < view.t0 || begin > view.t1) continue;
      const left = Math.max(LEFT, x(begin, size)), right = Math.min(LEFT + size.width, x(end, size));
      context.fillStyle = colour(data.states[state]);
      context.fillRect(left, top, Math.max(1, right - left), BAND - 2);
      if (right - left > 60) {
        context.fillStyle = state === 1 ? variable("--soft") : state === 4 ? variable("--paper") : "#000000";
        context.textAlign = "center";
        context.textBaseline = "middle";
        context.fillText(data.states[state].name, (left + right) / 2, top + BAND / 2 - 1);
      }
    }
  }

  function drawStream(size) {
    const left = LEFT + size.width + 8;
    for (const [begin, end, fate] of flow.stream) {
      if (end < view.s0 || begin > view.s1 || hidden.has(fate)) continue;
      const top = Math.max(TOP, y(end, size)), bottom = Math.min(TOP + size.height, y(begin, size));
      context.fillStyle = colour(data.fates[fate]);
      context.fillRect(left, top, 16, Math.max(1, bottom - top));
    }
    context.fillStyle = variable("--soft");
    context.textAlign = "center";
    context.textBaseline = "top";
    context.fillText("end", left + 8, TOP + size.height + 4);
  }

  function drawGaps(size) {
    context.strokeStyle = variable("--gap");
    context.setLineDash([3, 3]);
    context.beginPath();
    for (const [begin, end, seen, filled] of flow.gaps) {
      const until = filled === null ? flow.end : filled;
      if (until < view.t0 || seen > view.t1 || end < view.s0 || begin > view.s1) continue;
      const row = y((begin + end) / 2, size), left = x(seen, size), right = x(until, size);
      context.moveTo(Math.max(0, left), row);
      context.lineTo(Math.min(LEFT + size.width + 9, right), row);
      if (filled === null) {
        for (const slope of [-4, 4]) { context.moveTo(right - 4, row - slope); context.lineTo(right + 4, row + slope); }
      }
    }
    context.stroke();
    context.setLineDash([]);
    context.beginPath();
    for (const [begin, end, seen] of flow.gaps) {
      if (seen < view.t0 || seen > view.t1) continue;
      context.moveTo(x(seen, size), y(begin, size) + 2);
      context.lineTo(x(seen, size), y(end, size) - 2);
    }
    context.stroke();
  }

  function drawQuestions(size) {
    const mark = variable("--mark"), paper = variable("--paper");
    context.strokeStyle = mark;
    const point = (time, position, event) => {
      const px = x(time, size), py = y(position, size);
      context.beginPath();
      if (event === ASKED) {
        context.moveTo(px, py - 6); context.lineTo(px + 5, py + 4); context.lineTo(px - 5, py + 4);
      } else if (event === HINTED) {
        context.moveTo(px, py - 6); context.lineTo(px + 5, py); context.lineTo(px, py + 6); context.lineTo(px - 5, py);
      } else if (event === DENIED) {
        context.rect(px - 4, py - 4, 8, 8);
      } else {
        context.arc(px, py, 4.5, 0, 7);
      }
      context.closePath();
      context.fillStyle = event === STALE ? paper : mark;
      context.fill();
      context.stroke();
    };
    for (const [, position, asked, answer, answered] of flow.questions) {
      if (position < view.s0 || position > view.s1) continue;
      if ((answered ?? asked) < view.t0 || asked > view.t1) continue;
      if (answer !== null) {
        context.beginPath();
        context.moveTo(x(asked, size), y(position, size));
        context.lineTo(x(answered, size), y(position, size));
        context.stroke();
        point(answered, position, answer);
      }
      point(asked, position, ASKED);
    }
    for (const [event, time, position] of flow.marks) {
      if ((event === HINTED || event === STALE) && time >= view.t0 && time <= view.t1) point(time, position, event);
    }
  }

  function drawMarks(size, ink) {
    context.strokeStyle = context.fillStyle = ink;
    context.textAlign = "left";
    context.textBaseline = "top";
    context.setLineDash([6, 3]);
    for (const [event, time] of flow.marks) {
      if (event === HINTED || event === STALE || time < view.t0 || time > view.t1) continue;
      const at = Math.round(x(time, size)) + .5;
      context.beginPath();
      context.moveTo(at, TOP); context.lineTo(at, TOP + size.height);
      context.stroke();
      const text = data.events[event];
      const fits = at + 6 + context.measureText(text).width < LEFT + size.width;
      context.textAlign = fits ? "left" : "right";
      context.fillText(text, at + (fits ? 4 : -4), TOP + 2);
    }
    context.setLineDash([]);
  }

  function drawSelected(size, ink) {
    if (selected < 0) return;
    const { time, begin, size: bytes } = flow.packets;
    const px = x(time[selected], size), top = y(begin[selected] + bytes[selected], size);
    context.strokeStyle = ink;
    context.strokeRect(px - 5, top - 2, 10, Math.max(4, y(begin[selected], size) - top + 4));
  }

  // -- naming

  /** The index of the piece under a point, or -1. */
  function pieceAt(px, py) {
    const size = area();
    if (px < LEFT || px > LEFT + size.width || py < TOP || py > TOP + size.height) return -1;
    const { time, begin } = flow.packets;
    const reach = NEAR_PX / size.width * (view.t1 - view.t0);
    const at = timeAt(px, size);
    const from = lower(time, at - reach), to = lower(time, at + reach);
    let best = -1, least = NEAR_PX * NEAR_PX;
    for (let piece = flow.first[from]; piece < flow.first[to]; piece++) {
      if (hidden.has(flow.pieces.fate[piece])) continue;
      const packet = flow.pieces.packet[piece];
      const low = begin[packet] + flow.pieces.offset[piece];
      const dx = x(time[packet], size) - px;
      const top = y(low + flow.pieces.size[piece], size), bottom = y(low, size);
      const dy = py < top ? top - py : py > bottom ? py - bottom : 0;
      const distance = dx * dx + dy * dy;
      if (distance < least) { least = distance; best = piece; }
    }
    return best;
  }

  function eventAt(px, py) {
    const size = area();
    const near = (time, position) => Math.hypot(x(time, size) - px, y(position, size) - py) < 8;
    for (const [number, position, asked, answer, answered, record] of flow.questions) {
      if (hiddenExtras.has("questions")) break;
      if (near(asked, position) || (answer !== null && near(answered, position))) {
        const what = answer === null ? "no answer in time" : data.events[answer] + (record === null ? "" : ` ${record}`);
        const took = answer === null ? "" : ` after ${exactly(answered - asked)}`;
        return `question ${number} at ${exactly(asked)}: does a record start at sequence ${sequence(position)}?\n${what}${took}`;
      }
    }
    for (const [event, time, position, record] of flow.marks) {
      const line = event !== HINTED && event !== STALE;
      if (hiddenExtras.has(line ? "marks" : "questions")) continue;
      if (line ? Math.abs(x(time, size) - px) < 4 && py < TOP + 20 : near(time, position)) {
        return `${data.events[event]} at ${exactly(time)}, sequence ${sequence(position)}, record ${record}`;
      }
    }
    return null;
  }

  function sequence(position) {
    return `${position} (${(flow.start + position) % 2 ** 32 + (flow.start + position < 0 ? 2 ** 32 : 0)})`;
  }

  function stateAt(time) {
    const span = flow.spans.find(([begin, end]) => begin <= time && time < end);
    return span ? data.states[span[2]].name : null;
  }

  function namePacket(packet, piece) {
    const p = flow.packets;
    const parts = [`packet ${p.frame[packet] || "?"} at ${exactly(p.time[packet])}`,
      `sequence ${sequence(p.begin[packet])}, ${p.size[packet]} bytes`, data.outcomes[p.outcome[packet]]];
    const state = p.state[packet] === NO_STATE || !p.state[packet] ? stateAt(p.time[packet]) : data.states[p.state[packet]].name;
    if (state) parts.push(`tracker ${state}`);
    const begin = p.begin[packet], end = begin + p.size[packet];
    const asked = flow.questions.filter(([, place]) => place >= begin && place < end).map(([number]) => number);
    if (asked.length) parts.push(`question ${asked.join(", ")}`);
    const lines = [];
    for (let at = flow.first[packet]; at < flow.first[packet + 1]; at++) {
      const record = flow.pieces.record[at];
      const number = record < 0 || flow.records.number[record] < 0 ? "?" : flow.records.number[record];
      const here = at === piece && flow.first[packet + 1] - flow.first[packet] > 1 ? "→ " : "";
      lines.push(`${here}${flow.pieces.size[at]} bytes of record ${number}: ${data.fates[flow.pieces.fate[at]].name}`);
    }
    return `${parts.join(", ")}\n${lines.join("; ")}`;
  }

  function select(packet, piece) {
    selected = packet;
    tip.textContent = packet < 0 ? "Point at a packet." : namePacket(packet, piece);
    schedule();
  }

  function show(time, position) {
    const margin = .05;
    const t = view.t1 - view.t0, s = view.s1 - view.s0;
    const inside = time > view.t0 + t * margin && time < view.t1 - t * margin
      && position > view.s0 + s * margin && position < view.s1 - s * margin;
    if (!inside) look({ t0: time - t / 2, t1: time + t / 2, s0: position - s / 2, s1: position + s / 2 });
  }

  function step(to) {
    const packet = Math.min(Math.max(to, 0), flow.packets.time.length - 1);
    if (packet < 0) return;
    show(flow.packets.time[packet], flow.packets.begin[packet]);
    select(packet, -1);
  }

  function nextMoment(moments) {
    const now = selected < 0 ? -1 : flow.packets.time[selected];
    const sorted = [...moments].sort((a, b) => a - b);
    const time = sorted.find((one) => one > now);
    if (time !== undefined) step(lower(flow.packets.time, time));
  }

  // -- input

  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    // Browsers turn a wheel with Shift into one that goes sideways.
    const turn = event.deltaY || event.deltaX;
    zoom(Math.exp(Math.sign(turn) * .25), event.clientX - box.left, event.clientY - box.top, event.shiftKey, event.altKey);
  }, { passive: false });

  let drag = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    drag = { x: event.offsetX, y: event.offsetY, view, frame: event.shiftKey };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (drag === null) {
      const piece = pieceAt(event.offsetX, event.offsetY);
      select(piece < 0 ? -1 : flow.pieces.packet[piece], piece);
      const text = eventAt(event.offsetX, event.offsetY);
      if (text !== null) tip.textContent = text;
      return;
    }
    const dx = event.offsetX - drag.x, dy = event.offsetY - drag.y;
    if (drag.frame) {
      const box = byId("box");
      box.hidden = false;
      box.style.left = `${Math.min(drag.x, event.offsetX)}px`;
      box.style.top = `${Math.min(drag.y, event.offsetY)}px`;
      box.style.width = `${Math.abs(dx)}px`;
      box.style.height = `${Math.abs(dy)}px`;
      return;
    }
    const size = area(), from = drag.view;
    const dt = -dx / size.width * (from.t1 - from.t0), ds = dy / size.height * (from.s1 - from.s0);
    look({ t0: from.t0 + dt, t1: from.t1 + dt, s0: from.s0 + ds, s1: from.s1 + ds });
  });
  canvas.addEventListener("pointerup", (event) => {
    byId("box").hidden = true;
    if (drag !== null && drag.frame && Math.abs(event.offsetX - drag.x) > 4 && Math.abs(event.offsetY - drag.y) > 4) {
      const size = area();
      const times = [timeAt(drag.x, size), timeAt(event.offsetX, size)].sort((a, b) => a - b);
      const places = [positionAt(drag.y, size), positionAt(event.offsetY, size)].sort((a, b) => a - b);
      look({ t0: times[0], t1: times[1], s0: places[0], s1: places[1] });
    }
    drag = null;
  });
  canvas.addEventListener("pointercancel", () => { drag = null; byId("box").hidden = true; });
  canvas.addEventListener("pointerleave", () => { if (drag === null && document.activeElement !== canvas) select(-1, -1); });

  function zoomMiddle(factor) {
    const size = area();
    let px = LEFT + size.width / 2, py = TOP + size.height / 2;
    if (selected >= 0) {
      px = Math.min(Math.max(x(flow.packets.time[selected], size), LEFT), LEFT + size.width);
      py = Math.min(Math.max(y(flow.packets.begin[selected], size), TOP), TOP + size.height);
    }
    zoom(factor, px, py, false, false);
  }

  const KEYS = {
    ArrowLeft: () => move(-(view.t1 - view.t0) / 10, 0),
    ArrowRight: () => move((view.t1 - view.t0) / 10, 0),
    ArrowUp: () => move(0, (view.s1 - view.s0) / 10),
    ArrowDown: () => move(0, -(view.s1 - view.s0) / 10),
    "+": () => zoomMiddle(.7),
    "=": () => zoomMiddle(.7),
    "-": () => zoomMiddle(1 / .7),
    0: () => look(whole()),
    n: () => step(selected + 1),
    p: () => step(selected < 0 ? 0 : selected - 1),
    Home: () => step(0),
    End: () => step(flow.packets.time.length - 1),
    q: () => nextMoment(flow.questions.map((one) => one[2])),
    g: () => nextMoment(flow.gaps.map((one) => one[2])),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  byId("in").addEventListener("click", () => zoomMiddle(.7));
  byId("out").addEventListener("click", () => zoomMiddle(1 / .7));
  byId("whole").addEventListener("click", () => look(whole()));

  // -- legend and flows

  function entry(name, look, set, key) {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = !set.has(key);
    box.addEventListener("change", () => {
      if (box.checked) set.delete(key); else set.add(key);
      schedule();
    });
    label.append(box);
    if (look) {
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = colour(look);
      label.append(swatch);
    }
    label.append(name);
    byId("legend").append(label);
  }

  function makeLegend() {
    const legend = byId("legend");
    legend.replaceChildren(legend.querySelector("legend"));
    const present = new Set(flow.pieces.fate);
    const total = flow.stream.reduce((sum, [begin, end]) => sum + end - begin, 0);
    const share = new Map();
    for (const [begin, end, fate] of flow.stream) {
      present.add(fate);
      share.set(fate, (share.get(fate) || 0) + (end - begin) / total);
    }
    data.fates.forEach((fate, index) => {
      if (!present.has(index)) return;
      const part = share.has(index) ? ` ${(share.get(index) * 100).toFixed(1)} %` : "";
      entry(fate.name + part, fate, hidden, index);
    });
    for (const [key, name] of EXTRAS) entry(name, null, hiddenExtras, key);
  }

  function choose(index) {
    flow = open(data.flows[index]);
    selected = -1;
    document.title = `${flow.title} – ${data.name}`;
    byId("summary").textContent = `${flow.text}\n  begins   ${flow.begin}, ${data.name}`;
    tip.textContent = "Point at a packet.";
    makeLegend();
    look(whole());
  }

  data.flows.forEach((one, index) => {
    const option = document.createElement("option");
    option.value = index;
    option.textContent = `${one.title} (${one.handle.toString(16)})`;
    byId("flows").append(option);
  });
  byId("flows").addEventListener("change", (event) => choose(Number(event.target.value)));
  dark.addEventListener("change", () => { makeLegend(); schedule(); });
  new ResizeObserver(schedule).observe(byId("plot"));
  if (data.flows.length) choose(0);
  else tip.textContent = "There are no TLS flows in this capture.";

  // For scripts: where a packet is on the screen, and how long drawing took.
  globalThis.timeline = {
    get view() { return { ...view }; },
    get drawings() { return [...rest]; },
    get packets() { return flow.packets.time.length; },
    place(packet) {
      const box = canvas.getBoundingClientRect(), size = area();
      const { time, begin, size: bytes } = flow.packets;
      return { x: box.left + x(time[packet], size), y: box.top + y(begin[packet] + bytes[packet] / 2, size) };
    },
    draw,
  };
})();
