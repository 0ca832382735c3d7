// Lanes of a time line: one strip for attention upwards and downwards, or for one line.

const LANE = { attention: 76, value: 56, running: 56, label: 20, gap: 10, flag: 14 };
// More would touch each other.
const MOST_DOTS = 60;

// Which curves share a strip: attention to what is good and to what is bad, on one scale.
function lanesOf(curves) {
  const lanes = [];
  for (const curve of curves) {
    const side = curve.says === "bad" ? "down" : "up";
    const alike = (lane) => lane.kind === curve.kind && lane.detail === curve.detail;
    const free = lanes.find((lane) => alike(lane) && !lane[side]);
    if (curve.kind !== "attention") lanes.push({ kind: curve.kind, detail: curve.detail, line: curve });
    else if (free) free[side] = curve;
    else lanes.push({ kind: curve.kind, detail: curve.detail, [side]: curve });
  }
  return lanes;
}

function curvesOf(lane) {
  return [lane.up, lane.down, lane.line].filter(Boolean);
}

function tone(curve) {
  return curve.says === "good" || curve.says === "bad" ? curve.says : "neutral";
}

// The drawing of a lane below `top`, over the edges (T + 1 places) of the steps.
function drawLane(lane, top, edges) {
  const height = LANE[lane.kind];
  const marks = lane.line ? line(lane.line, top, height, edges) : areas(lane, top, height, edges);
  return draw("g", { class: `lane ${lane.kind}` }, ...marks);
}

function areas(lane, top, height, edges) {
  const curves = curvesOf(lane);
  const most = Math.max(...curves.map((curve) => curve.high)) || 1;
  const base = lane.up && lane.down ? top + height / 2 : lane.up ? top + height : top;
  const room = lane.up && lane.down ? height / 2 : height;
  const marks = curves.flatMap((curve) => {
    const scale = (curve === lane.down ? room : -room) / most;
    const average = base + scale * curve.mean;
    return [
      draw("path", { class: `area ${tone(curve)}`, d: areaPath(curve.values, edges, base, scale) }),
      draw("path", { class: "average", d: `M${edges[0]} ${average}H${edges.at(-1)}` }),
    ];
  });
  return [...marks, draw("path", { class: "base", d: `M${edges[0]} ${base}H${edges.at(-1)}` })];
}

function areaPath(values, edges, base, scale) {
  const tops = Array.from(values, (value, step) => {
    const y = base + scale * (Number.isNaN(value) ? 0 : value);
    return `L${at(edges[step])} ${at(y)}H${at(edges[step + 1])}`;
  });
  return `M${at(edges[0])} ${at(base)}${tops.join("")}V${at(base)}Z`;
}

function line(curve, top, height, edges) {
  const low = curve.kind === "value" ? Math.min(0, curve.low) : curve.low;
  const high = curve.kind === "value" ? Math.max(0, curve.high) : curve.high;
  const inset = 4;
  const y = (value) => top + height - inset - ((value - low) / (high - low || 1)) * (height - 2 * inset);
  const points = Array.from(curve.values, (value, step) => [(edges[step] + edges[step + 1]) / 2, y(value)]);
  const zero = draw("path", { class: "zero", d: `M${edges[0]} ${at(y(0))}H${edges.at(-1)}` });
  const dots = points.length <= MOST_DOTS ? points.filter(sure) : [];
  return [
    ground(top, height, edges),
    ...(low <= 0 && high >= 0 ? [zero] : []),
    draw("path", { class: `line ${tone(curve)}`, d: linePath(points) }),
    ...dots.map(([cx, cy]) => draw("circle", { class: `dot ${tone(curve)}`, cx: at(cx), cy: at(cy), r: 2.5 })),
  ];
}

function linePath(points) {
  const corner = ([x, y], step) => `${step && sure(points[step - 1]) ? "L" : "M"}${at(x)} ${at(y)}`;
  return points.map((point, step) => (sure(point) ? corner(point, step) : "")).join("");
}

function sure([, y]) {
  return !Number.isNaN(y);
}

function at(place) {
  return Math.round(place * 10) / 10;
}

// Steps that a flag marks, side by side ones as one stretch.
function drawFlag(flag, top, edges) {
  const runs = [];
  for (const step of [...flag.steps].sort((one, other) => one - other)) {
    const last = runs.at(-1);
    if (last && last[1] === step) last[1] = step + 1;
    else runs.push([step, step + 1]);
  }
  const spans = runs.map(([from, to]) => {
    const width = at(Math.max(edges[to] - edges[from], 2));
    return draw("rect", { class: "flagged", x: at(edges[from]), y: top, width, height: LANE.flag });
  });
  return draw("g", { class: "lane flags" }, ground(top, LANE.flag, edges), ...spans);
}

function ground(top, height, edges) {
  return draw("rect", { class: "ground", x: edges[0], y: top, width: edges.at(-1) - edges[0], height });
}
