// The page as a whole: which sections are open, and how links lead to them.

const entries = readJson("data");
const sections = [...document.querySelectorAll("details.video")];
const pausers = new Map();
let remembering = false;

function onToggle(details) {
  const place = sections.indexOf(details);
  if (details.open && !pausers.has(place)) pausers.set(place, buildSection(details, place, entries));
  if (!details.open) pausers.get(place)?.();
  if (!remembering) requestAnimationFrame(remember);
  remembering = true;
}

// So that the same ones are open when somebody comes back to the page; once for many at a time.
function remember() {
  remembering = false;
  const open = sections.flatMap((section, number) => (section.open ? [number] : []));
  history.replaceState({ open }, "");
}

function openFrom(address) {
  const found = /^#video-(\d+)$/.exec(address);
  const details = found && sections[Number(found[1])];
  if (!details) return;
  details.open = true;
  details.querySelector("summary").focus({ preventScroll: true });
  details.scrollIntoView();
}

for (const details of sections) details.addEventListener("toggle", () => onToggle(details));
for (const place of history.state?.open ?? []) if (sections[place]) sections[place].open = true;
addEventListener("hashchange", () => openFrom(location.hash));
// The address does not change when somebody follows the same link again.
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#video-"]');
  if (!link || link.getAttribute("href") !== location.hash) return;
  event.preventDefault();
  openFrom(location.hash);
});
startRanking(document.getElementById("ranking-table"));
// Only then has the browser followed the address by itself, and taken the focus away.
addEventListener("load", () => openFrom(location.hash));
