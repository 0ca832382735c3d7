// What the curves and marks of a time line mean, in words.

function legendOf(story, curves) {
  const flags = story.flags.filter((flag) => flag.steps.size);
  return [...curves.map(curveItem), ...flags.map((flag) => flagItem(flag, story.steps))];
}

function curveItem(curve) {
  const swatch =
    curve.kind === "attention"
      ? draw("rect", { class: `area ${tone(curve)}`, x: 1, y: 1, width: 26, height: 12 })
      : draw("path", { class: `line ${tone(curve)}`, d: "M1 11 9 5 17 8 27 2" });
  return legendItem(swatch, curve.label, curve.meaning);
}

function flagItem(flag, steps) {
  const swatch = draw("rect", { class: "flagged", x: 1, y: 1, width: 26, height: 12 });
  const are = flag.steps.size === 1 ? "is" : "are";
  return legendItem(swatch, flag.name, `${flag.steps.size} of ${steps} steps ${are} marked.`);
}

function legendItem(swatch, label, meaning) {
  const picture = draw("svg", { class: "swatch", viewBox: "0 0 28 14", "aria-hidden": "true" }, swatch);
  return make("li", {}, picture, make("span", {}, make("b", {}, label), meaning ? ` ${meaning}` : ""));
}
