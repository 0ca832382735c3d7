// Side by side with a video that the model ranks higher: what tells against this one beside what
// speaks for the other.

function makeComparison(place, entries) {
  const entry = entries[place];
  const better = entries
    .map((other, number) => ({ ...other, number }))
    .filter((other) => other.rank < entry.rank && other.task === entry.task);
  const title = make("h4", {}, "Beside a better-ranked video");
  const section = make("section", { class: "comparison" }, title);
  if (!better.length) {
    section.append(make("p", {}, "No video of its kind is ranked higher."));
    return { node: section, pause: () => {} };
  }
  const options = better.map(({ number, rank, id }) => make("option", { value: number }, `${rank}: ${isolated(id, 40)}`));
  const select = make("select", {}, ...options);
  if (entry.rival !== null) select.value = String(entry.rival);
  if (select.selectedIndex < 0) select.selectedIndex = 0;
  const pair = make("div", { class: "pair" });
  let stages = [];
  const pause = () => stages.forEach((stage) => stage.pause());
  const stop = button("Pause both", pause);

  function set() {
    pause();
    stages = besides(pair, place, Number(select.value), entries);
    stop.hidden = !stages.every((stage) => stage.plays);
  }

  select.addEventListener("change", set);
  set();
  section.append(make("div", { class: "chooser" }, make("label", {}, "Compare with ", select), stop), pair);
  return { node: section, pause };
}

// Both stages, and rows of moments below them.
function besides(holder, place, rival, entries) {
  const sides = [[place, "bad"], [rival, "good"]].map(([number, tells]) => {
    const [entry, story] = [entries[number], storyOf(number)];
    const film = filmOf(number, entry);
    return { entry, story, film, stage: makeStage(entry, story, film), moments: telling(story, tells) };
  });
  const heads = sides.map(({ entry, stage }, side) =>
    make("div", { class: "side" }, make("h5", {}, side ? "better: " : "this one: ", named(entry.id)), stage.node),
  );
  const rows = rowsOf(sides);
  sides.forEach(({ story, stage, moments: [first] }) => {
    if (first && story.timed) stage.seek(first.start, first.step);
  });
  holder.replaceChildren(...heads, ...rows.flat());
  return sides.map((side) => side.stage);
}

// Those that tell what is asked for; where a head cannot say good from bad, those that stand out.
function telling(story, tells) {
  const numbered = story.moments.map((moment, order) => ({ ...moment, order }));
  const own = numbered.filter((moment) => moment.tells === tells);
  return own.length ? own : numbered.filter((moment) => moment.tells === "notable");
}

function rowsOf(sides) {
  const count = Math.min(...sides.map((side) => side.moments.length));
  if (count === 0) return [[make("p", { class: "wide" }, lacking(sides))]];
  return Array.from({ length: count }, (_, row) => {
    const cells = sides.map((side) => momentPicture(side, side.moments[row]));
    return [...cells, playButton(sides, row)];
  });
}

function lacking([own, other]) {
  if (!own.story.steps) return own.entry.untold || "Nothing is known of the moments of this video.";
  if (!own.moments.length) return "No moment of this video stands out against it.";
  return other.entry.untold || "No moment of the better video stands out for it.";
}

function momentPicture({ story, film }, moment) {
  const picture = film.stills[moment.order];
  return make(
    "div",
    { class: "beside" },
    picture ? make("img", { src: picture, alt: "" }) : null,
    make("p", {}, make("b", {}, when(story, moment)), ` ${moment.why}`),
  );
}

function playButton(sides, row) {
  const both = sides.every((side) => side.stage.plays && side.story.timed);
  if (!both) return make("div", { class: "wide" });
  const play = button(`Play both from moment ${row + 1}`, () => {
    for (const side of sides) {
      side.stage.seek(side.moments[row].start, side.moments[row].step);
      side.stage.video.play().catch(() => {});
    }
  });
  return make("div", { class: "wide buttons" }, play);
}
