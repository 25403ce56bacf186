// Counts down, and loads a page anew when something moved that its reader may
// see. Every page is right without it, and it sends nothing.
"use strict";

const ahead = document.querySelectorAll("[data-until]");

function left(ms) {
  const s = Math.floor(ms / 1000), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  if (s <= 0) return "over";
  if (h >= 48) return Math.floor(h / 24) + " days";
  if (h > 0) return h + " h " + m + " min";
  if (m >= 10) return m + " min";
  return m + ":" + String(s % 60).padStart(2, "0");
}

// The server's clock decides: the page says what it was when it was written, and
// this machine's may be wrong by hours.
const skew = Date.parse(document.body.dataset.now) - Date.now();

function count() {
  let over = false;
  for (const t of ahead) {
    const ms = Date.parse(t.dataset.until) - Date.now() - skew;
    t.textContent = left(ms);
    over = over || (ms <= 0 && ms > -1500);
  }
  if (over) moved();
}

// Nothing is taken from under somebody's hands: a page with something typed, or
// on which one decides, only says that it has moved.
function busy() {
  const at = document.activeElement;
  if (at && at.closest("form, input, textarea, select")) return true;
  for (const f of document.querySelectorAll("textarea, input:not([type=hidden]), select")) {
    if (f.value !== (f.defaultValue ?? f.value)) return true;
  }
  return false;
}

let told = false;

function moved() {
  if (document.body.hasAttribute("data-live") && !busy()) {
    setTimeout(() => location.reload(), 300);
    return;
  }
  const here = location.pathname.match(/^\/requests\/[^/]+$/);
  if (told || !here) return;
  told = true;
  const note = document.createElement("p"), link = document.createElement("a");
  note.className = "moved";
  note.setAttribute("role", "status");
  link.href = here[0];
  link.textContent = "Look again";
  note.append("This request has moved meanwhile. ", link);
  document.getElementById("main").prepend(note);
}

if (ahead.length > 0) {
  count();
  setInterval(count, 1000);
}

const mine = location.pathname.match(/^\/requests\/([^/]+)$/);
if (location.pathname === "/" || location.pathname === "/inbox" || mine) {
  const events = new EventSource("/v1/events");
  const of = (e) => { if (!mine || JSON.parse(e.data).request?.id === mine[1]) moved(); };
  for (const type of ["request.created", "review.recorded", "request.approved", "request.denied", "request.cancelled", "request.expired", "grant.scheduled", "grant.activated", "grant.activation_failed", "grant.extended", "grant.ending", "grant.ended"]) {
    events.addEventListener(type, of);
  }
  addEventListener("pagehide", () => events.close());
}
