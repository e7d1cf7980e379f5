"use strict";
const { cases, threshold, score } = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const list = at("cases"), detail = at("detail"), slider = at("cut");
const NARROW = matchMedia("(max-width: 61.99rem)");
let cut = threshold;
let chosen = 0;
let order = [];
let ready = false;  // before, a browser would scroll to the case that is named in the address

const make = (tag, text = "", name = "") => {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  if (name) made.className = name;
  return made;
};
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const digits = (value) => (Math.round(value * 100) / 100 === value ? value.toFixed(2) : String(value));
const shown = (one) => (one.findings || []).filter((finding) => finding.score >= cut);
const best = (one) => (one.findings && one.findings.length ? one.findings[0].score : -1);
const group = (one) => (one.kind !== "detected" ? one.kind : best(one) >= cut ? "with" : "without");
const wanted = () => document.querySelector("input[name=shown]:checked").value;

// A view: the picture of a case, scaled to its frame, and the boxes that the cut leaves.
function view(one, number, labels) {
  const made = make("div", "", "view");
  made.style.aspectRatio = one.aspect;
  const text = at(`picture-${number + 1}`);
  if (text && text.textContent) {
    const image = make("img");
    image.alt = labels ? `Radiograph ${one.name}, ${counted(shown(one).length, "finding")} marked` : "";
    image.src = `data:image/webp;base64,${text.textContent}`;
    made.append(image);
  }
  shown(one).forEach((finding, index) => {
    const [x0, y0, x1, y1] = finding.box;
    const box = make("span", "", finding.score < threshold ? "box below" : "box");
    Object.assign(box.style, { left: `${100 * x0}%`, top: `${100 * y0}%`, width: `${100 * (x1 - x0)}%`, height: `${100 * (y1 - y0)}%` });
    if (y0 < 0.06) box.classList.add("high");
    if (x0 > 0.85) box.classList.add("right");
    if (labels) box.append(make("i", `${index + 1}: ${finding.score.toFixed(2)}`));
    made.append(box);
  });
  return made;
}

// Cards are made at once, what is in their frames only near the screen.
const near = new Set();
const cards = cases.map((one, number) => {
  const item = make("li"), link = make("a");
  link.href = `#case-${number + 1}`;
  link.id = `case-${number + 1}`;
  link.tabIndex = -1;
  link.append(make("span", "", "frame"), make("span", `${number + 1}. ${one.name}`, "name"), make("span", "", "told"));
  link.title = one.name;
  item.append(link);
  return item;
});

function fill(number) {
  const one = cases[number], frame = cards[number].querySelector(".frame");
  if (one.kind !== "detected") {
    frame.replaceChildren(make("em", one.kind));
    return;
  }
  const made = view(one, number, false);
  made.style[one.aspect >= 1 ? "width" : "height"] = "100%";
  frame.replaceChildren(made);
}

const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const number = Number(entry.target.dataset.number);
    if (entry.isIntersecting) {
      near.add(number);
      fill(number);
    } else if (near.delete(number)) entry.target.querySelector(".frame").replaceChildren();
  }
}, { rootMargin: "600px" });

function words(one) {
  if (one.kind !== "detected") return one.kind;
  const count = shown(one).length;
  return count ? `${counted(count, "finding")}, ${best(one).toFixed(2)}` : "no finding";
}

// Counts, texts and which cards are listed, after the cut, the filter or the order has changed.
function update() {
  const counts = { all: cases.length, with: 0, without: 0, failed: 0, skipped: 0 };
  const only = wanted();
  order = [];
  cases.forEach((one, number) => {
    const its = group(one);
    counts[its] += 1;
    const told = cards[number].querySelector(".told");
    told.textContent = words(one);
    told.classList.toggle("some", its === "with");
    if (only === "all" || its === only) order.push(number);
  });
  if (at("order").value === "score") order.sort((a, b) => best(cases[b]) - best(cases[a]) || a - b);
  for (const [name, count] of Object.entries(counts)) {
    const label = at(`count-${name}`);
    label.textContent = count;
    label.closest("label").hidden = !count && (name === "failed" || name === "skipped");
  }
  const listed = order.map((number) => cards[number]);
  if (listed.length !== list.children.length || listed.some((card, place) => card !== list.children[place])) {
    list.replaceChildren(...listed);
  }
  for (const number of near) fill(number);
  at("cut-shown").textContent = digits(cut);
  slider.setAttribute("aria-valuetext", `${score} from ${digits(cut)}`);
  at("none").hidden = order.length > 0;
  const sum = cases.reduce((total, one) => total + shown(one).length, 0);
  at("status").textContent = `${counted(order.length, "case")} listed; ${counted(sum, "finding")} from ${digits(cut)} in ${counts.with} of ${counted(counts.with + counts.without, "radiograph")}`;
  if (order.length && !order.includes(chosen)) choose(order[0], false);
  else describe();
}

function step(to, text) {
  const place = order.indexOf(chosen) + to;
  if (order.indexOf(chosen) < 0 || place < 0 || place >= order.length) return make("span", text);
  const link = make("a", text);
  link.href = `#case-${order[place] + 1}`;
  link.rel = to < 0 ? "prev" : "next";
  return link;
}

// The case that is looked at.
function describe() {
  const one = cases[chosen], parts = [];
  if (!one) return;
  const heading = make("div", "", "heading"), nav = make("nav");
  nav.setAttribute("aria-label", "From case to case");
  nav.append(step(-1, "← Previous"), step(1, "Next →"));
  heading.append(make("h2", `${chosen + 1}. ${one.name}`), nav);
  parts.push(heading);
  if (one.kind !== "detected") {
    parts.push(make("p", one.kind === "failed" ? "Failed" : "Skipped: no radiograph", one.kind === "failed" ? "warning" : "soft"), make("p", one.sentence));
    detail.replaceChildren(...parts);
    return;
  }
  const picture = view(one, chosen, true), found = shown(one), more = one.findings.length - found.length;
  picture.style.width = `min(100%, calc(max(20rem, 100vh - var(--bar, 8rem) - 15rem) * ${one.aspect}))`;
  parts.push(picture);
  if (found.length) parts.push(table(found));
  else parts.push(make("p", `No finding from ${digits(cut)}.`));
  if (more) parts.push(make("p", `${counted(more, "finding")} below ${digits(cut)}.`, "soft"));
  if (one.notes.length) {
    const notes = make("ul", "", "soft");
    notes.append(...one.notes.map((note) => make("li", note)));
    parts.push(make("h3", "Notes"), notes);
  }
  detail.replaceChildren(...parts);
}

function table(found) {
  const made = make("table"), head = make("tr"), body = make("tbody");
  for (const name of ["No.", "Finding", score, "Size", "Centre, pixels"]) {
    const cell = make("th", name);
    cell.scope = "col";
    head.append(cell);
  }
  found.forEach((finding, index) => {
    const row = make("tr"), number = make("th", String(index + 1));
    number.scope = "row";
    const size = finding.mm === null ? "spacing unknown" : `${finding.mm.toFixed(1)} mm`;
    row.append(number, ...[finding.label, finding.score.toFixed(2), size, finding.center.join(", ")].map((text) => make("td", text)));
    body.append(row);
  });
  const top = make("thead");
  top.append(head);
  made.append(top, body);
  return made;
}

function choose(number, focus = true) {
  const before = cards[chosen].querySelector("a"), link = cards[number].querySelector("a");
  before.removeAttribute("aria-current");
  before.tabIndex = -1;
  chosen = number;
  link.setAttribute("aria-current", "true");
  link.tabIndex = 0;
  if (ready) history.replaceState(null, "", `#case-${number + 1}`);
  describe();
  if (focus) {
    link.focus({ preventScroll: true });
    link.scrollIntoView({ block: "nearest" });
  }
}

function columns() {
  const top = list.children[0].offsetTop;
  let count = 1;
  while (count < list.children.length && list.children[count].offsetTop === top) count += 1;
  return count;
}

document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || !order.length) return;
  if (event.target.closest("input, select, textarea")) return;
  const place = order.indexOf(chosen), last = order.length - 1;
  const steps = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last };
  if (event.key === "ArrowUp") steps.ArrowUp = place - columns();
  if (event.key === "ArrowDown") steps.ArrowDown = place + columns();
  if (!(event.key in steps)) return;
  event.preventDefault();
  const to = steps[event.key];
  if (to >= 0 && to <= last) choose(order[to]);
});

document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#case-"]');
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const away = detail.contains(link) ? link.rel : "";
  choose(Number(link.hash.slice(6)) - 1, !away);
  if (away) (detail.querySelector(`a[rel=${away}]`) || detail).focus({ preventScroll: true });
  else if (NARROW.matches) detail.scrollIntoView({ block: "start" });
});

let waiting = false;
function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    update();
  });
}
slider.addEventListener("input", () => {
  cut = Number(slider.value);
  later();
});
at("reset").addEventListener("click", () => {
  slider.value = cut = threshold;
  later();
});
at("filter").addEventListener("change", later);
at("order").addEventListener("change", later);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());

function measure() {
  document.documentElement.style.setProperty("--bar", `${document.querySelector(".bar").offsetHeight + 8}px`);
}
addEventListener("resize", measure);

function linked() {
  const number = Number((/^#case-(\d+)$/.exec(location.hash) || [])[1]) - 1;
  return number >= 0 && number < cases.length ? number : -1;
}
addEventListener("hashchange", () => linked() >= 0 && choose(linked()));

cards.forEach((card, number) => (card.dataset.number = number));
const first = linked();
if (cases.length) choose(Math.max(first, 0), false);
update();
measure();
cards.forEach((card) => watch.observe(card));
// The pictures stand behind this script, so that the page is drawn before it is read to its end.
addEventListener("DOMContentLoaded", () => {
  near.forEach(fill);
  describe();
  if (first > 0) choose(first);
});
addEventListener("load", () => (ready = true));
