// The time line of a video: what the head makes of each step, a cursor, and a way to jump.

const CLICKS =
  "Click the line to jump there. Keys: arrows go step by step, Page Up and Page Down from moment to " +
  "moment, Home and End to the ends; Space plays.";
const NO_TIMES =
  "The times of the steps are not known, so the line is drawn by step number and cannot move the player.";
let lines = 0;

// `jump(seconds, step)` moves what is looked at (seconds is null where times are unknown), `toggle()`
// plays or pauses it. The result holds the node, and that of the legend; `show(seconds, step)`, which moves
// the cursor and returns its step; and `extend(from, to)`, for a film that is longer than the steps.
function makeTimeline(entry, story, { jump, toggle }) {
  const scale = makeScale(story);
  const state = { step: 0, seconds: null, hover: null, whole: false };
  const drawing = draw("svg", { "aria-hidden": "true", focusable: "false" });
  const [cursor, pointer] = [draw("g", { class: "cursor" }), draw("g", { class: "pointer" })];
  const help = make("p", { class: "help", id: `line-help-${(lines += 1)}` }, story.timed ? CLICKS : NO_TIMES);
  const name = `Time line of ${isolated(entry.id)}`;
  const spoken = { role: "slider", "aria-label": name, "aria-describedby": help.id };
  const slider = make("div", { class: "timeline", tabindex: "0", ...spoken }, drawing);
  const readout = make("p", { class: "readout" });
  const meanings = make("ul", { class: "legend" });
  const shown = () => story.curves.filter((curve) => state.whole || !curve.detail);
  const here = () => state.seconds ?? scale.middle(state.step);

  function paint() {
    if (scale.width <= 2 * SIDE) return;
    const { begin, end } = paintLine(drawing, story, scale, shown(), [pointer, cursor]);
    const handle = draw("path", { class: "handle", d: `M-6 ${end + 9} 0 ${end} 6 ${end + 9}Z` });
    cursor.replaceChildren(draw("path", { d: `M0 ${begin}V${end}` }), handle);
    pointer.replaceChildren(draw("path", { d: `M0 ${begin}V${end}` }));
    slider.setAttribute("aria-valuemin", story.timed ? Math.floor(scale.first * 10) / 10 : 1);
    slider.setAttribute("aria-valuemax", story.timed ? Math.ceil(scale.last * 10) / 10 : story.steps);
    move();
  }

  function move() {
    cursor.setAttribute("transform", `translate(${at(scale.x(scale.kept(here())))} 0)`);
    const over = state.hover !== null && state.hover !== state.step;
    pointer.setAttribute("visibility", over ? "visible" : "hidden");
    if (over) pointer.setAttribute("transform", `translate(${at(scale.x(scale.middle(state.hover)))} 0)`);
    const { place, said } = wordsOf(story, state.hover ?? state.step, shown());
    const terms = said.map(([term, value]) => make("span", { class: "said" }, `${term}: `, make("b", {}, value)));
    readout.replaceChildren(make("b", { class: "place" }, place), ...terms);
    const own = wordsOf(story, state.step, shown());
    slider.setAttribute("aria-valuetext", [own.place, ...own.said.map((pair) => pair.join(": "))].join("; "));
    slider.setAttribute("aria-valuenow", story.timed ? Math.round(here() * 10) / 10 : state.step + 1);
  }

  function show(seconds, step = null) {
    state.seconds = story.timed ? seconds : null;
    if (step !== null) state.step = step;
    else if (state.seconds !== null) state.step = stepAt(story, seconds, state.step);
    move();
    return state.step;
  }

  function extend(from, to) {
    if (!story.timed || !(to > from)) return;
    scale.extend(from, to);
    paint();
  }

  function unfold(whole) {
    state.whole = whole;
    meanings.replaceChildren(...legendOf(story, shown()));
    paint();
  }

  new ResizeObserver(() => {
    if (slider.clientWidth === scale.width) return;
    scale.width = slider.clientWidth;
    paint();
  }).observe(slider);
  listen(slider, drawing, story, scale, state, { jump, toggle, move, here });
  unfold(false);
  const more = unfolder(story.curves.filter((curve) => curve.detail).length, unfold);
  const node = make("div", { class: "line-holder" }, slider, readout, more);
  return { node, legend: make("div", { class: "meaning" }, meanings, help), show, extend };
}

// What pointers and keys do to a time line.
function listen(slider, drawing, story, scale, state, { jump, toggle, move, here }) {
  const pointed = (event) => scale.under(event.clientX, drawing.getBoundingClientRect());
  const stepOver = (event) => {
    const place = pointed(event);
    return story.timed ? stepAt(story, place, state.step) : Math.min(Math.floor(place), story.steps - 1);
  };
  const toStep = (step) => {
    const wanted = Math.min(Math.max(step, 0), story.steps - 1);
    jump(story.timed ? story.centre[wanted] : null, wanted);
  };
  const toMoment = (moment) => moment && jump(story.timed ? moment.centre : null, moment.step);
  // A player does not stop exactly where it is asked to.
  const after = (moment) => placeOf(story, moment) > here() + 0.05;
  const before = (moment) => placeOf(story, moment) < here() - 0.05;
  const keys = {
    ArrowRight: () => toStep(state.step + 1),
    ArrowUp: () => toStep(state.step + 1),
    ArrowLeft: () => toStep(state.step - 1),
    ArrowDown: () => toStep(state.step - 1),
    Home: () => toStep(0),
    End: () => toStep(story.steps - 1),
    PageUp: () => toMoment(story.moments.find(after)),
    PageDown: () => toMoment(story.moments.findLast(before)),
    Enter: toggle,
    " ": toggle,
  };

  slider.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  slider.addEventListener("click", (event) => {
    const sign = event.target.closest("[data-moment]");
    if (sign) toMoment(story.moments[Number(sign.dataset.moment)]);
    else jump(story.timed ? pointed(event) : null, stepOver(event));
  });
  slider.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    state.hover = stepOver(event);
    move();
  });
  slider.addEventListener("pointerleave", () => {
    state.hover = null;
    move();
  });
}

// A button that shows the curves which tell more than most readers ask for; none where there are none.
function unfolder(hidden, unfold) {
  if (!hidden) return null;
  const words = `Show ${hidden} more ${hidden === 1 ? "curve" : "curves"}`;
  const more = button(words, () => {
    const whole = more.getAttribute("aria-expanded") !== "true";
    more.textContent = whole ? "Show fewer curves" : words;
    more.setAttribute("aria-expanded", whole);
    unfold(whole);
  }, { "aria-expanded": "false" });
  return more;
}
