// What is looked at: a player, or where there is none the still of the moment in hand.

const UNPLAYED =
  "This browser cannot play the video's own file: it has moved, or is of a kind that browsers do not " +
  "play. Make the report without --link-videos to have a copy inside the page.";

// The result holds the node; `seek(seconds, step)`; `toggle()`; `pause()`; `cover(map, step)`, which
// draws a map over the picture (none where it is null); and `plays`, whether there is a film.
function makeStage(entry, story, film, onTime = () => {}) {
  const veil = make("canvas", { class: "veil", "aria-hidden": "true", hidden: true });
  const frame = make("div", { class: "frame" });
  const fault = make("p", { class: "fault", role: "status", hidden: true });
  const stage = film.url ? playing(entry, film, frame, fault, onTime) : still(entry, story, film, frame, onTime);
  frame.append(veil);
  const warned = entry.fault ? make("p", { class: "fault" }, entry.fault) : null;
  const seen = frame.childElementCount > 1 ? frame : null;
  const holder = make("div", { class: "stage" }, seen, fault, warned, ...stage.notes);
  const covered = { map: null, step: -1 };

  function cover(map, step) {
    veil.hidden = map === null || !stage.shape();
    if (veil.hidden || (covered.map === map && covered.step === step)) return;
    Object.assign(covered, { map, step });
    paintMap(veil, map, step, stage.shape());
  }

  return { ...stage, node: holder, cover, veil };
}

function playing(entry, film, frame, fault, onTime) {
  const video = make("video", {
    controls: true,
    muted: true,
    playsinline: true,
    preload: "metadata",
    "aria-label": isolated(entry.id),
    src: film.url,
  });
  video.muted = true;
  const begins = entry.copy ? entry.begins : 0;
  const now = () => video.currentTime + begins;
  const tell = () => onTime(now());
  frame.append(video);
  for (const kind of ["timeupdate", "seeking", "seeked", "loadeddata"]) video.addEventListener(kind, tell);
  video.addEventListener("play", function follow() {
    if (video.paused || video.ended) return;
    tell();
    requestAnimationFrame(follow);
  });
  video.addEventListener("error", () => {
    fault.textContent = entry.copy
      ? "This browser cannot play the copy of the video. Another browser may."
      : UNPLAYED;
    fault.hidden = false;
    video.hidden = true;
  });
  const words =
    `This copy begins at ${clock(begins, true)} of the file, and the player counts from there; ` +
    "all other times are those of the file.";
  return {
    plays: true,
    video,
    seek: (seconds) => { if (seconds !== null) video.currentTime = Math.max(0, seconds - begins); },
    toggle: () => (video.paused ? video.play().catch(() => {}) : video.pause()),
    pause: () => video.pause(),
    length: () => [begins, begins + video.duration],
    shape: () => (video.videoWidth ? video.videoWidth / video.videoHeight : 0),
    notes: begins >= 0.5 ? [make("p", { class: "small" }, words)] : [],
  };
}

function still(entry, story, film, frame, onTime) {
  const first = film.stills.findIndex(Boolean);
  const picture = make("img", { alt: "" });
  const reason = entry.missing ? make("p", { class: "missing" }, entry.missing) : null;

  function turn(order) {
    picture.src = film.stills[order];
    picture.alt = `Moment ${order + 1}, ${when(story, story.moments[order])}: ${story.moments[order].why}`;
  }

  if (first >= 0) {
    turn(first);
    frame.append(picture);
  }
  return {
    plays: false,
    seek: (seconds, step) => {
      const order = story.moments.findIndex((moment) => moment.step === step);
      if (film.stills[order]) turn(order);
      onTime(seconds, step);
    },
    toggle: () => {},
    pause: () => {},
    shape: () => (first >= 0 && picture.naturalWidth ? picture.naturalWidth / picture.naturalHeight : 0),
    notes: reason ? [reason] : [],
  };
}
