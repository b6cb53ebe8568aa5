"use strict";
// Text goes into the page as text nodes and attributes only, never as markup.
const SVG = "http://www.w3.org/2000/svg";

function node(name, attributes, ...children) {
  const svg = ["svg", "rect", "circle", "line", "text", "title", "g"].includes(name);
  const made = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// -- tables that sort --------------------------------------------------------------------------------------------------

function valueOf(row, column) {
  const cell = row.cells[column];
  const text = cell.dataset.value ?? cell.textContent.trim();
  const number = parseFloat(text);
  return { text, number, empty: text === "" || text === "—" };
}

function sort(table, column, descending) {
  const rows = [...table.tBodies[0].rows];
  const order = (one, other) => {
    const [a, b] = [valueOf(one, column), valueOf(other, column)];
    if (a.empty || b.empty) return a.empty - b.empty; // what is unknown stands last
    const numbers = column > 0 && !isNaN(a.number) && !isNaN(b.number);
    return (descending ? -1 : 1) * (numbers ? a.number - b.number : a.text.localeCompare(b.text));
  };
  table.tBodies[0].append(...rows.sort(order));
  [...table.tHead.rows[0].cells].forEach((cell, n) => {
    if (cell.hasAttribute("aria-sort")) cell.setAttribute("aria-sort", n !== column ? "none" : descending ? "descending" : "ascending");
  });
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((cell, column) => {
    if ("fixed" in cell.dataset) return;
    const button = node("button", { type: "button" }, ...cell.childNodes);
    cell.append(button);
    cell.setAttribute("aria-sort", "none");
    // The first click puts the highest number, or the first letter, on top.
    button.addEventListener("click", () => {
      const now = cell.getAttribute("aria-sort");
      sort(table, column, now === "none" ? column > 0 : now === "ascending");
    });
  });
}

document.querySelectorAll("table.sortable").forEach(makeSortable);

// -- which classes are confused ----------------------------------------------------------------------------------------

const percent = (share) => (100 * share).toFixed(1);

function triples(counts) {
  return Array.from({ length: counts.length / 3 }, (_, n) => counts.slice(3 * n, 3 * n + 3));
}

function totals(row, classes) {
  const total = Array(classes.length).fill(0), right = Array(classes.length).fill(0);
  for (const [label, given, number] of triples(row.counts)) {
    total[label] += number;
    if (label === given) right[label] += number;
  }
  return { total, right };
}

// A name that may be broken into lines within it.
function breakable(text) {
  const parts = text.split(/(?<=_)|(?<=[a-z])(?=[A-Z])/);
  return parts.flatMap((part, n) => (n ? [node("wbr", {}), part] : [part]));
}

function table(titles, rows, label) {
  const head = titles.map((title, n) => node("th", { scope: "col", class: n > 1 ? "number" : "" }, title));
  const lines = rows.map((cells) => node("tr", {}, ...cells.map((cell, n) =>
    n ? node("td", { class: n > 1 ? "number" : "" }, ...(cell.nodeName ? [cell] : breakable(cell))) : node("th", { scope: "row" }, ...breakable(cell)))));
  return node("table", {}, node("caption", {}, label), node("thead", {}, node("tr", {}, ...head)), node("tbody", {}, ...lines));
}

function nameOf(classes, given) {
  return classes[given] ?? (given === classes.length ? "no answer" : "another class");
}

function matrix(row, classes) {
  const { total } = totals(row, classes), named = classes.length <= 40;
  const cell = named ? 18 : 7, left = named ? 190 : 20, top = named ? 150 : 20;
  const columns = Math.max(classes.length, ...triples(row.counts).map(([, given]) => given + 1));
  const width = left + cell * columns + (named ? 110 : 10), height = top + cell * classes.length + 10;
  const drawn = node("svg", { class: "matrix", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
    "aria-label": `Confusion matrix of ${row.name}. The table of pairs says it in numbers.` });
  drawn.append(node("rect", { class: "frame", x: left, y: top, width: cell * columns, height: cell * classes.length }));
  if (named) {
    const short = (name) => (name.length > 28 ? `${name.slice(0, 27)}…` : name);
    classes.forEach((name, n) => drawn.append(node("text", { x: left - 6, y: top + cell * (n + 0.75), "text-anchor": "end" }, short(name))));
    for (let n = 0; n < columns; n++) {
      const [x, y] = [left + cell * (n + 0.7), top - 6];
      drawn.append(node("text", { x, y, transform: `rotate(-50 ${x} ${y})` }, short(nameOf(classes, n))));
    }
  }
  for (const [label, given, number] of triples(row.counts)) {
    const share = number / total[label];
    const text = `${classes[label]}, answered ${nameOf(classes, given)}: ${number} of ${total[label]} (${percent(share)} %)`;
    drawn.append(node("rect", { class: label === given ? "right" : "wrong", x: left + cell * given + 0.5, y: top + cell * label + 0.5,
      width: cell - 1, height: cell - 1, "fill-opacity": (0.12 + 0.88 * share).toFixed(2) }, node("title", {}, text)));
  }
  return drawn;
}

function pairs(row, classes) {
  const { total } = totals(row, classes);
  const mistakes = triples(row.counts).filter(([label, given]) => label !== given && given <= classes.length).sort((a, b) => b[2] - a[2]).slice(0, 15);
  const rows = mistakes.map(([label, given, number]) => [classes[label], nameOf(classes, given), `${number} of ${total[label]}`, percent(number / total[label])]);
  return table(["True class", "Answer", "Videos", "Percent"], rows, `Most confused pairs of ${row.name}`);
}

function alike(one, other) {
  return String(one.splits) === String(other.splits);
}

function gains(one, other, classes) {
  if (!alike(one, other)) return node("p", {}, "These two rows were tested on other videos (see their splits), so they are not compared.");
  const [a, b] = [totals(one, classes), totals(other, classes)];
  const found = classes.map((name, n) => ({ name, one: a.right[n] / a.total[n], other: b.right[n] / b.total[n] }))
    .filter((of) => !isNaN(of.one) && !isNaN(of.other)).sort((x, y) => (y.one - y.other) - (x.one - x.other));
  const rows = found.map((of) => {
    const gain = of.one - of.other, x = 80 + 80 * Math.min(0, gain);
    const bar = node("svg", { class: "bar", viewBox: "0 0 160 16", "aria-hidden": "true" }, node("line", { class: "zero", x1: 80, x2: 80, y1: 0, y2: 16 }),
      node("rect", { class: gain < 0 ? "forward loss" : "forward", x, y: 3, width: 80 * Math.abs(gain), height: 10 }));
    return [of.name, bar, `${gain > 0 ? "+" : ""}${percent(gain)}`, percent(of.one), percent(of.other)];
  });
  return table(["Class", "−100 to +100", "Gain (points)", one.name, other.name], rows, `Accuracy by class of ${one.name} against ${other.name}`);
}

document.querySelectorAll(".answers").forEach((place) => {
  const { classes, rows } = JSON.parse(document.getElementById(`${place.dataset.of}-data`).textContent);
  const part = (name) => place.querySelector(`[data-part="${name}"]`);
  const chosen = (name) => rows[part(name).selectedIndex];
  const show = () => {
    part("matrix").replaceChildren(node("p", {}, `Confusion matrix of ${chosen("row").name}: a line for each true class, a column for each answer.`), matrix(chosen("row"), classes));
    part("pairs").replaceChildren(pairs(chosen("row"), classes));
    part("gains").replaceChildren(gains(chosen("one"), chosen("other"), classes));
  };
  for (const name of ["row", "one", "other"]) {
    part(name).append(...rows.map((row) => node("option", {}, row.name)));
    part(name).addEventListener("change", show);
  }
  const last = rows.findLastIndex((row) => alike(row, rows[0]));
  part("one").selectedIndex = last;
  show();
});
