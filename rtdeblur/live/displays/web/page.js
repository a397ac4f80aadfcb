// Draws the newest pair of pictures, and sends the requests of buttons and keys.
"use strict";

const $ = (id) => document.getElementById(id);
const stage = $("stage"), canvas = $("picture"), divider = $("divider");
const context = canvas.getContext("2d", { alpha: false });
const FIRST_WAIT = 500, LONGEST_WAIT = 5000;

let pair = null;            // the blurred and the restored picture, as bitmaps
let state = null;           // the last status
let view = "split";         // "split", "beside" or "restored"
let position = 0.5;         // of the divider
let box = null;             // of the canvas in the stage, in CSS pixels
let socket = null;
let wait = FIRST_WAIT;
const drawnAt = [];         // times of the last second's pictures

// ---- the picture -------------------------------------------------------------------------------------------

function lay() {
  if (!pair) return;
  const [{ width, height }] = pair;
  const across = view === "beside" ? 2 * width + 4 : width;
  const room = stage.getBoundingClientRect();
  const scale = Math.min(room.width / across, room.height / height);
  box = { width: across * scale, height: height * scale };
  box.left = (room.width - box.width) / 2;
  box.top = (room.height - box.height) / 2;
  if (canvas.width !== across || canvas.height !== height) {
    canvas.width = across;
    canvas.height = height;
  }
  for (const side of ["left", "top", "width", "height"]) canvas.style[side] = `${box[side]}px`;
  place();
}

function place() {
  if (!box) return;
  const middle = view === "beside" ? 0.5 : position;
  divider.hidden = view !== "split";
  divider.style.left = `${box.left + box.width * position}px`;
  divider.style.top = `${box.top}px`;
  divider.style.height = `${box.height}px`;
  divider.setAttribute("aria-valuenow", Math.round(100 * position));
  divider.setAttribute("aria-valuetext", `${Math.round(100 * position)} % blurred`);
  const [blurred, restored] = [$("blurred"), $("restored")];
  blurred.style.left = `${box.left + 12}px`;
  restored.style.right = `${box.left + 12}px`;
  blurred.style.top = restored.style.top = `${box.top + 12}px`;
  blurred.hidden = view === "restored" || box.width * middle < 110;
  restored.hidden = view === "restored" || box.width * (1 - middle) < 110;
}

function draw() {
  if (!pair) return;
  const [blurred, restored] = pair;
  const { width, height } = restored;
  if (view === "beside") {
    context.fillStyle = "#101214";
    context.fillRect(width, 0, 4, height);
    context.drawImage(blurred, 0, 0);
    context.drawImage(restored, width + 4, 0);
    return;
  }
  context.drawImage(restored, 0, 0);
  const at = Math.round(width * position);
  if (view === "split" && at > 0) context.drawImage(blurred, 0, 0, at, height, 0, 0, at, height);
}

function look(other) {
  view = view === other ? (other === "split" ? "restored" : "split") : other;
  $("beside").setAttribute("aria-pressed", view === "beside");
  lay();
  draw();
}

function move(to) {
  position = Math.min(1, Math.max(0, to));
  place();
  draw();
}

function drag(event) {
  if (view === "split" && box) move((event.clientX - stage.getBoundingClientRect().left - box.left) / box.width);
}

stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || view !== "split" || event.target.closest("dialog")) return;
  stage.setPointerCapture(event.pointerId);
  drag(event);
});
stage.addEventListener("pointermove", (event) => {
  if (stage.hasPointerCapture(event.pointerId)) drag(event);
});
new ResizeObserver(lay).observe(stage);

// ---- the connection ----------------------------------------------------------------------------------------

function connect() {
  const address = new URL("live" + location.search, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { wait = FIRST_WAIT; enable(true); };
  socket.onmessage = receive(socket);
  socket.onclose = lost;
}

function receive(from) {
  let last = Promise.resolve();  // messages are drawn in their order
  return ({ data }) => {
    last = last.then(() => show(data)).catch(() => say("A picture could not be drawn")).then(() => {
      if (from.readyState === WebSocket.OPEN) from.send("drawn");
    });
  };
}

async function show(data) {
  const length = new DataView(data).getUint32(0, true);
  state = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const [first, second] = state.bytes;
  if (first) {
    const start = 4 + length;
    const jpeg = (from, size) => new Blob([new Uint8Array(data, from, size)], { type: "image/jpeg" });
    const fresh = await Promise.all(
      [jpeg(start, first), jpeg(start + first, second)].map((blob) => createImageBitmap(blob)));
    const resized = !pair || pair[0].width !== fresh[0].width || pair[0].height !== fresh[0].height;
    if (pair) pair.forEach((bitmap) => bitmap.close());
    pair = fresh;
    if (resized) lay();
    draw();
    count();
  }
  tell();
}

async function lost() {
  enable(false);
  let reason = "Connection lost; trying again";
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (answer.status === 403) reason = "This address has expired: open the one that rtdeblur printed";
  } catch { /* the server is not back yet */ }
  say(reason);
  setTimeout(connect, wait);
  wait = Math.min(LONGEST_WAIT, 2 * wait);
}

function count() {
  const now = performance.now();
  drawnAt.push(now);
  while (drawnAt[0] < now - 2000) drawnAt.shift();
}

// ---- status and requests -----------------------------------------------------------------------------------

function tell() {
  const [height, width] = state.working_size;
  const parts = [[state.model, `${width}×${height}`], [`${state.source_fps.toFixed(1)} fps`, "source"],
                 [`${state.shown_fps.toFixed(1)} fps`, "restored"], [`${(drawnAt.length / 2).toFixed(0)} fps`, "here"]];
  if (state.latency_ms) {
    parts.push([`${state.latency_ms[0].toFixed(0)} ms`, `p95 ${state.latency_ms[1].toFixed(0)}`]);
  }
  parts.push([`${state.dropped}`, "dropped"]);
  $("status").replaceChildren(...parts.map(([value, name]) => {
    const part = document.createElement("span"), strong = document.createElement("b");
    strong.textContent = value;
    part.append(strong, ` ${name}`);
    return part;
  }));
  $("recording").hidden = !state.recording;
  $("pause").setAttribute("aria-pressed", state.paused);
  $("record").setAttribute("aria-pressed", state.recording);
  say(state.message || (state.paused ? "Paused" : pair ? "" : "Waiting for a picture"));
}

function say(text) {
  if ($("message").textContent !== text) $("message").textContent = text;
}

function ask(what) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(what);
}

function enable(connected) {
  for (const id of ["pause", "snapshot", "record", "model"]) $(id).disabled = !connected;
}

function fullScreen() {
  if (document.fullscreenElement) document.exitFullscreen();
  else stage.requestFullscreen?.();
}

function help() {
  if ($("help").open) $("help").close();
  else $("help").showModal();
}

const actions = {
  pause: () => ask("pause"), snapshot: () => ask("snapshot"), record: () => ask("record"),
  model: () => ask("next model"), beside: () => look("beside"), "open-help": help,
};
for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);

const keys = {
  " ": actions.pause, p: actions.snapshot, r: actions.record, m: actions.model, b: actions.beside,
  s: () => look("split"), f: fullScreen, h: help,
  ArrowLeft: () => move(position - 0.02), ArrowRight: () => move(position + 0.02),
  Home: () => move(0), End: () => move(1),
};
document.addEventListener("keydown", (event) => {
  const onButton = event.target instanceof HTMLButtonElement && (event.key === " " || event.key === "Enter");
  if (event.ctrlKey || event.altKey || event.metaKey || onButton) return;
  if ($("help").open && event.key !== "h") return;
  const action = keys[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

enable(false);
connect();
