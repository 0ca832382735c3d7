// The section of one video, made when it is first opened.

// The result pauses all that plays in it.
function buildSection(details, place, entries) {
  const entry = entries[place];
  const watched = makeWatched(entry, storyOf(place), filmOf(place, entry));
  const comparison = makeComparison(place, entries);
  const body = details.querySelector(".body");
  body.prepend(watched.node);
  body.append(comparison.node);
  return () => {
    watched.stage.pause();
    comparison.pause();
  };
}

// Player, time line, moments and what was looked at, which move together.
function makeWatched(entry, story, film) {
  const looking = { map: null, step: 0 };
  const stage = makeStage(entry, story, film, follow);
  const line = story.steps ? makeTimeline(entry, story, { jump, toggle: stage.toggle }) : null;
  const moments = story.moments.length ? makeMoments(story, film, jumpInView) : null;

  function jump(seconds, step) {
    follow(seconds, step);
    stage.seek(seconds, step);
  }

  // The moments lie below what they lead to, on a phone out of sight of it.
  function jumpInView(seconds, step) {
    jump(seconds, step);
    stage.node.scrollIntoView({ block: "nearest" });
  }

  function follow(seconds, step = null) {
    if (line) looking.step = line.show(seconds, step);
    if (moments) moments.mark(looking.step);
    stage.cover(looking.map, looking.step);
  }

  function look(map) {
    looking.map = map;
    stage.cover(map, looking.step);
    if (moments) moments.cover(map);
  }

  if (line && entry.copy) stage.video.addEventListener("loadedmetadata", () => line.extend(...stage.length()));
  // Without a film, the first moment's still is what is seen.
  const [first] = stage.plays ? [] : story.moments;
  if (first) follow(story.timed ? first.centre : null, first.step);
  const buttons = story.maps.length ? lookButtons(story.maps, look) : null;
  const node = make(
    "section",
    { class: "watched" },
    make("h4", { class: "unseen" }, "What made the score"),
    stage.node,
    buttons,
    line ? line.node : null,
    moments ? moments.node : null,
    line ? line.legend : null,
  );
  return { node, stage };
}

// One button a map; the one that is pressed is drawn.
function lookButtons(maps, look) {
  const buttons = maps.map((map) => {
    const words = `Show where it looked${maps.length > 1 ? `: ${map.name}` : ""}`;
    return button(words, () => press(map), { "aria-pressed": "false" });
  });

  function press(map) {
    const chosen = buttons[maps.indexOf(map)];
    const on = chosen.getAttribute("aria-pressed") !== "true";
    for (const one of buttons) one.setAttribute("aria-pressed", on && one === chosen);
    meaning.hidden = !on;
    look(on ? map : null);
  }

  const words =
    "The denser the yellow, the more this place counted; the line runs around what counted more than " +
    "half of the most.";
  const meaning = make("p", { class: "small", hidden: true }, words);
  return make("div", { class: "buttons look" }, ...buttons, meaning);
}

// The most telling moments, numbered as on the time line.
function makeMoments(story, film, jump) {
  const items = story.moments.map((moment, order) => {
    const veil = make("canvas", { class: "veil", "aria-hidden": "true", hidden: true });
    const image = film.stills[order] ? make("img", { src: film.stills[order], alt: "" }) : null;
    const look = { viewBox: "-14 -14 28 28", class: "sign", "aria-hidden": "true" };
    const shape = draw("svg", look, sign(moment.tells, order + 1));
    const words = make("span", { class: "words" }, make("b", {}, when(story, moment)), ` ${moment.why}`);
    const frame = image ? make("span", { class: "frame" }, image, veil) : null;
    const spoken = make("span", { class: "unseen" }, `Moment ${order + 1}: `);
    const row = make("span", { class: "what" }, shape, spoken, words);
    const go = () => jump(story.timed ? moment.centre : null, moment.step);
    const node = make("button", { type: "button", class: moment.tells }, frame, row);
    node.addEventListener("click", go);
    return { moment, node, image, veil };
  });

  function mark(step) {
    for (const { moment, node } of items) node.setAttribute("aria-current", moment.step === step);
  }

  function cover(map) {
    for (const { moment, image, veil } of items) {
      veil.hidden = map === null || !image || !image.naturalWidth;
      if (!veil.hidden) paintMap(veil, map, moment.step, image.naturalWidth / image.naturalHeight);
    }
  }

  const list = make("ol", { class: "moments" }, ...items.map(({ node }) => make("li", {}, node)));
  const title = make("h5", {}, "The most telling moments");
  return { node: make("section", { class: "telling" }, title, list), mark, cover };
}
