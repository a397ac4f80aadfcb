// Draws the newest pair of pictures, and sends the requests of buttons and keys.
"use strict";

const $ = (id) => document.getElementById(id);
const stage = $("stage"), canvas = $("picture"), divider = $("divider");
const context = canvas.getContext("2d", { alpha: false });
const FIRST_WAIT = 500, LONGEST_WAIT = 5000, MODELS_SHOWN = 4000, STEP = 0.1, CLEARANCE = 12;

let pair = null;            // the blurred and the restored picture, as bitmaps
let state = null;           // the last status
let view = "split";         // "split", "beside" or "restored"
let position = 0.5;         // of the divider
let box = null;             // of the canvas in the stage, in CSS pixels
let socket = null;
let wait = FIRST_WAIT;
let modelsTimer = 0;
let offered = "";           // the files that are listed
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
  canvas.hidden = false;
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
  divider.setAttribute("aria-valuetext", `${Math.round(100 * position)}% blurred`);
  const [blurred, restored] = [$("blurred"), $("restored")];
  blurred.style.left = `${box.left + 12}px`;
  restored.style.right = `${box.left + 12}px`;
  blurred.style.top = restored.style.top = `${box.top + 12}px`;
  blurred.hidden = view === "restored" || box.width * middle < 110;
  restored.hidden = view === "restored" || box.width * (1 - middle) < 110;
  for (const id of ["message", "models", "recording"]) putBeside($(id));
}

// Text in the middle keeps to one side of the divider.
function putBeside(element) {
  const room = stage.clientWidth, at = box && view === "split" ? box.left + box.width * position : -1;
  element.style.maxWidth = "90%";
  element.style.left = "50%";
  if (at < 0 || element.hidden || Math.abs(at - room / 2) > element.offsetWidth / 2 + CLEARANCE) return;
  const right = room - at >= at, width = (right ? room - at : at) - 2 * CLEARANCE;
  element.style.maxWidth = `${width}px`;
  element.style.left = `${right ? at + CLEARANCE + width / 2 : CLEARANCE + width / 2}px`;
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
  if (event.button !== 0 || view !== "split" || event.target.closest("dialog, #models")) return;
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
  const parts = [[state.model, `${width}×${height}`], ["", state.quality], [`${state.source_fps.toFixed(1)} fps`, "source"],
                 [`${state.shown_fps.toFixed(1)} fps`, "restored"], [`${(drawnAt.length / 2).toFixed(0)} fps`, "here"]];
  if (state.latency_ms) {
    parts.push([`${state.latency_ms[0].toFixed(0)} ms`, `p95 ${state.latency_ms[1].toFixed(0)}`]);
  }
  parts.push([`${state.dropped}`, "dropped"]);
  $("status").replaceChildren(...parts.filter(([, name]) => name).map(([value, name]) => {
    const part = document.createElement("span"), strong = document.createElement("b");
    strong.textContent = value;
    part.append(strong, value ? ` ${name}` : name);
    return part;
  }));
  $("recording").hidden = !state.recording;
  $("strength-value").textContent = state.strength.toFixed(1);
  if (document.activeElement !== $("strength")) $("strength").value = state.strength;
  list();
  $("pause").setAttribute("aria-pressed", state.paused);
  $("record").setAttribute("aria-pressed", state.recording);
  say(state.message || (state.paused ? "Paused" : pair ? "" : "Waiting for a picture"));
  for (const id of ["models", "recording"]) putBeside($(id));
}

// The models, and the files to download.
function list() {
  const buttons = state.models.map((name) => {
    const button = document.createElement("button");
    button.textContent = name;
    button.setAttribute("aria-pressed", name === state.choice);
    button.addEventListener("click", () => { ask(`model ${name}`); showModels(); });
    return button;
  });
  const key = JSON.stringify([state.models, state.choice]);
  if ($("models").dataset.key !== key) {
    $("models").dataset.key = key;
    $("models").replaceChildren(...buttons);
  }
  const now = JSON.stringify(state.saved);
  if (now === offered) return;
  offered = now;
  $("saved").hidden = !state.saved.length;
  $("saved").replaceChildren("Download:", ...[...state.saved].reverse().map(({ name, address, size }) => {
    const link = document.createElement("a");
    link.href = address;
    link.download = name;
    link.textContent = `${short(name)} (${amount(size)})`;
    return link;
  }));
}

// rtdeblur-20260131-235959.123-restored.png: 23:59:59 restored
function short(name) {
  const match = /^rtdeblur-\d{8}-(\d\d)(\d\d)(\d\d)\.\d+(?:-(\w+))?\.\w+$/.exec(name);
  return match ? `${match[1]}:${match[2]}:${match[3]} ${match[4] || "recording"}` : name;
}

function amount(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function showModels() {
  $("models").hidden = !(state && state.models.length);
  clearTimeout(modelsTimer);
  modelsTimer = setTimeout(() => { $("models").hidden = true; }, MODELS_SHOWN);
  putBeside($("models"));
}

function changeStrength(step) {
  if (state) setStrength(state.strength + step);
}

function setStrength(value) {
  const strength = Math.min(2, Math.max(0, value));
  $("strength").value = strength;
  ask(`strength ${strength.toFixed(1)}`);
}

function say(text) {
  if ($("message").textContent === text) return;
  $("message").textContent = text;
  putBeside($("message"));
}

function ask(what) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(what);
}

function enable(connected) {
  for (const id of ["pause", "snapshot", "record", "model", "strength"]) $(id).disabled = !connected;
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
  model: () => { ask("next model"); showModels(); }, beside: () => look("beside"), "open-help": help,
};
for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);

const keys = {
  " ": actions.pause, p: actions.snapshot, r: actions.record, m: actions.model, b: actions.beside,
  "-": () => changeStrength(-STEP), "+": () => changeStrength(STEP), "=": () => changeStrength(STEP),
  s: () => look("split"), f: fullScreen, h: help,
  ArrowLeft: () => move(position - 0.02), ArrowRight: () => move(position + 0.02),
  Home: () => move(0), End: () => move(1),
};
$("strength").addEventListener("input", () => setStrength(Number($("strength").value)));
document.addEventListener("keydown", (event) => {
  if (event.target === $("strength") && event.key.startsWith("Arrow")) return;
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
