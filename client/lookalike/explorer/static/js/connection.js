// Connection state: a banner while a server is unavailable; the view is shown again when it is back.
import { ask, onLost } from "./api.js";
import { forget } from "./collection.js";

const FIRST_S = 0.5;
const LONGEST_S = 5;
let waiting = false;

/** Watch the connection; call `back` when the server is available again. */
export function watch(back) {
  const banner = document.getElementById("banner");
  onLost(async () => {
    if (waiting) return;
    waiting = true;
    banner.className = "banner";
    banner.hidden = false;
    banner.textContent = "The server is unavailable. Reconnecting …";
    let seconds = FIRST_S;
    while (!(await isServing())) {
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
      seconds = Math.min(seconds * 1.5, LONGEST_S);
    }
    waiting = false;
    banner.classList.add("good");
    banner.textContent = "The server is available again.";
    setTimeout(() => {
      if (!waiting) banner.hidden = true;
    }, 2500);
    forget();
    back();
  });
}

async function isServing() {
  try {
    return (await ask("health")).serving;
  } catch {
    return false;
  }
}
