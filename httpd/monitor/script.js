"use strict";
/*
 * The monitor page. One event a second from /_/monitor/events has what every
 * node says of itself; rates and percentiles come from the difference to the
 * event before. Text reaches the page as text only (textContent).
 */

/* ------------------------------------------------------------- elements -- */

const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

function el(tag, attributes, ...children) {
	const e = document.createElement(tag);
	for (const [k, v] of Object.entries(attributes || {}))
		e.setAttribute(k, v);
	e.append(...children.filter((c) => c !== null && c !== undefined));
	return e;
}

function svg(tag, attributes, ...children) {
	const e = document.createElementNS(SVG, tag);
	for (const [k, v] of Object.entries(attributes || {}))
		e.setAttribute(k, v);
	e.append(...children);
	return e;
}

/* Write only what changed: a selection, a focus, a reader stay where they are. */
function say(e, text) {
	if (e.textContent !== text)
		e.textContent = text;
}

function mark(e, name, value) {
	if (e.getAttribute(name) !== value)
		e.setAttribute(name, value);
}

/* Children of parent, one for each key in order, made once and kept. */
function keyed(parent, keys, make) {
	const kept = parent.kept || (parent.kept = new Map());
	for (const [k, e] of kept) {
		if (!keys.includes(k)) {
			e.remove();
			kept.delete(k);
		}
	}
	keys.forEach((k, i) => {
		let e = kept.get(k);
		if (!e)
			kept.set(k, e = make(k));
		if (parent.children[i] !== e)
			parent.insertBefore(e, parent.children[i] || null);
	});
	return keys.map((k) => kept.get(k));
}

/* -------------------------------------------------------------- numbers -- */

const NONE = { v: "–", empty: true };
const three = (x) => x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2);
const whole = (n) => Math.round(n).toLocaleString("en-US");

function count(n) {
	if (n < 1e6)
		return { v: whole(n) };
	return n < 1e9 ? { v: three(n / 1e6), unit: "M" } : { v: three(n / 1e9), unit: "G" };
}

function size(n) {
	const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
	let i = 0;
	while (n >= 1024 && i < units.length - 1) {
		n /= 1024;
		i++;
	}
	return { v: i ? three(n) : whole(n), unit: units[i] };
}

function rate(n) {
	if (n === null || n === undefined)
		return NONE;
	if (n >= 10000)
		return { v: three(n / 1000), unit: "k/s" };
	return { v: n === 0 ? "0" : n < 10 ? n.toFixed(1) : whole(n), unit: "/s" };
}

function sizeRate(n) {
	if (n === null || n === undefined)
		return NONE;
	const s = size(n);
	return { v: s.v, unit: s.unit + "/s" };
}

/* A time in microseconds. */
function took(us) {
	if (us === null || us === undefined)
		return NONE;
	if (us < 1000)
		return { v: whole(us), unit: "µs" };
	return us < 1e6 ? { v: three(us / 1000), unit: "ms" } : { v: three(us / 1e6), unit: "s" };
}

function percent(part, all) {
	return all ? { v: (100 * part / all).toFixed(part === all ? 0 : 1), unit: "%" } : NONE;
}

function span(s) {
	if (s < 60)
		return Math.floor(s) + " s";
	if (s < 3600)
		return Math.floor(s / 60) + " min";
	if (s < 86400)
		return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
	return Math.floor(s / 86400) + " d " + Math.floor(s % 86400 / 3600) + " h";
}

const two = (n) => String(n).padStart(2, "0");

/* A wall clock time, with its day when that is not today. */
function clock(ms) {
	const d = new Date(ms), now = new Date();
	const time = two(d.getHours()) + ":" + two(d.getMinutes()) + ":" + two(d.getSeconds());
	if (d.toDateString() === now.toDateString())
		return time;
	return d.getFullYear() + "-" + two(d.getMonth() + 1) + "-" + two(d.getDate()) + " " + time;
}

const plural = (n, one, many) => whole(n) + " " + (n === 1 ? one : many || one + "s");
const names = (list) => list.length < 2 ? list.join("") :
	list.slice(0, -1).join(", ") + " and " + list[list.length - 1];
const asText = (c) => c.v + (c.unit ? " " + c.unit : "");

/* ---------------------------------------------------------------- state -- */

const HISTORY = 300;   /* samples kept of each node, one a second             */
const SPANS = [60, 120, HISTORY]; /* what charts show, the shortest that fits  */
const WINDOW = 5;      /* samples that a percentile looks at                  */
const SILENT_MS = 5000;
const LAGGING = 1000;  /* entries                                             */
const ROLES = ["follower", "candidate", "leader", "learner"];
const READY = 0;
const HTTP_BOUNDS = [50, 100, 250, 500, 1e3, 2500, 5e3, 1e4, 25e3, 5e4, 1e5,
	25e4, 1e6, 25e5, 1e7, 3e7];
const LOG2_BOUNDS = Array.from({ length: 32 }, (_, i) => 2 ** i);

const nodes = new Map(); /* id -> what is known of a node                     */
let shown = null;        /* the last event                                    */
let chosen = "all";      /* whose charts                                      */
let allPartitions = false;
let paused = false;

function fresh(id) {
	return { id, name: "", samples: [], last: null, rates: null, deltas: [],
		since: null, state: "up" };
}

const minus = (a, b) => a.map((n, i) => Math.max(0, n - (b[i] || 0)));
const plus = (a, b) => a.map((n, i) => n + (b[i] || 0));

/* The time in us below which the share q of what was counted lies. */
function percentile(counts, bounds, q) {
	const total = counts.reduce((a, b) => a + b, 0);
	let left = total * q;
	if (!total)
		return null;
	for (let i = 0; i < counts.length; i++) {
		if (counts[i] && left <= counts[i]) {
			const from = i ? bounds[i - 1] : 0;
			return from + (bounds[i] - from) * left / counts[i];
		}
		left -= counts[i];
	}
	return bounds[counts.length - 1];
}

const TIMES = { commit: LOG2_BOUNDS, sync: LOG2_BOUNDS, http: HTTP_BOUNDS };

/* p50 and p99 of each kind over the deltas of a few samples. */
function times(deltas) {
	const out = {};
	for (const kind of Object.keys(TIMES)) {
		const sum = deltas.reduce((a, d) => a ? plus(a, d[kind]) : d[kind], null);
		out[kind] = sum ? [percentile(sum, TIMES[kind], .5), percentile(sum, TIMES[kind], .99)] : [null, null];
	}
	return out;
}

/* What changed since the report before; null: nothing to compare with. */
function compare(n, report) {
	const was = n.last, f = report.figures;
	n.last = report;
	if (!was || f.mono_ms < was.figures.mono_ms || f.uptime_s < was.figures.uptime_s) {
		n.deltas = [];
		return null; /* the first, or it was started again            */
	}
	const s = (f.mono_ms - was.figures.mono_ms) / 1000;
	if (s < .2)
		return n.rates;
	const per = (name) => Math.max(0, f[name] - was.figures[name]) / s;
	const delta = { commit: minus(report.commit, was.commit),
		sync: minus(report.sync, was.sync), http: minus(report.http, was.http) };
	n.deltas = n.deltas.slice(1 - WINDOW).concat([delta]);
	return { gets: per("gets"), sets: per("sets"), deletes: per("deletes"),
		hits: per("get_hits"), misses: per("get_misses"), into: per("bytes_in"),
		out: per("bytes_out"), cpu: per("cpu_ms") / 10, delta };
}

const EMPTY = { gets: null, sets: null, deletes: null, into: null, out: null,
	commit: [null, null], sync: [null, null], http: [null, null] };

function remember(list, sample) {
	list.push(sample);
	if (list.length > HISTORY)
		list.shift();
}

function sampleOf(rates, deltas) {
	return rates ? Object.assign({}, rates, times(deltas)) : EMPTY;
}

/* How a member does, by what the node that serves this page knows. */
function judge(n, m, wall) {
	const was = n.state;
	if (!m.up)
		n.upSince = null;
	else if (!n.upSince)
		n.upSince = wall;
	if (!m.up)
		n.state = "down";
	else if (m.report && m.report_age_ms <= SILENT_MS)
		n.state = "up";
	else if (wall - n.upSince < SILENT_MS)
		n.state = was === "down" ? "up" : was; /* give it time to answer */
	else
		n.state = "silent";
	if (n.state !== was || n.since === null)
		n.since = n.state === "down" && m.last_contact_ms !== null
			? wall - m.last_contact_ms : n.state === "down" ? 0 : wall;
	n.telling = n.state === "up" && m.report && m.report_age_ms <= SILENT_MS;
}

const cluster = { samples: [], deltas: [] };

function takeEvent(e) {
	const seen = new Set();
	const sum = { gets: 0, sets: 0, deletes: 0, hits: 0, misses: 0, into: 0, out: 0 };
	let telling = 0, delta = null;
	shown = e;
	for (const m of e.members) {
		const n = nodes.get(m.id) || fresh(m.id);
		nodes.set(m.id, n);
		seen.add(m.id);
		n.name = m.name;
		n.member = m;
		judge(n, m, e.wall_ms);
		if (n.telling) {
			const again = n.last && n.last.figures.mono_ms === m.report.figures.mono_ms;
			if (!again)
				n.rates = compare(n, m.report);
		} else {
			n.rates = null;
			n.last = null;
		}
		remember(n.samples, sampleOf(n.rates, n.deltas));
		if (n.rates) {
			telling++;
			for (const k of Object.keys(sum))
				sum[k] += n.rates[k];
			delta = delta ? { commit: plus(delta.commit, n.rates.delta.commit),
				sync: plus(delta.sync, n.rates.delta.sync),
				http: plus(delta.http, n.rates.delta.http) } : n.rates.delta;
		}
	}
	for (const id of nodes.keys())
		if (!seen.has(id))
			nodes.delete(id);
	cluster.rates = telling ? sum : null;
	if (delta)
		cluster.deltas = cluster.deltas.slice(1 - WINDOW).concat([delta]);
	remember(cluster.samples, sampleOf(cluster.rates, cluster.deltas));
}

const list = () => [...nodes.values()].sort((a, b) =>
	a.name.localeCompare(b.name, "en", { numeric: true }));
const nameOf = (id) => nodes.has(id) ? nodes.get(id).name : "node " + id;
const figures = (n) => n.telling ? n.member.report.figures : null;

/* Entries that leaders wait for id to confirm. */
function lagOf(id) {
	let sum = 0;
	for (const n of nodes.values())
		if (n.telling)
			for (const [member, entries] of n.member.report.lags || [])
				sum += member === id ? entries : 0;
	return sum;
}

/* The partitions as those who lead them say, else as the page's node does. */
function partitionsNow() {
	const all = new Map();
	const self = nodes.get(shown.id);
	const order = list().sort((a, b) => (a === self) - (b === self));
	for (const n of order)
		if (n.telling)
			for (const p of n.member.report.partitions)
				if (!all.has(p[0]) || n === self || p[3] > all.get(p[0])[3])
					all.set(p[0], p);
	for (const n of order)
		if (n.telling)
			for (const p of n.member.report.partitions)
				if (p[1] === 2 && p[3] >= all.get(p[0])[3])
					all.set(p[0], p);
	return [...all.values()].sort((a, b) => a[0] - b[0]);
}

/* --------------------------------------------------------------- health -- */

const isLed = (p) => p[2] && nodes.has(p[2]) && nodes.get(p[2]).state !== "down";

function sinceText(n) {
	return n.since ? " since " + clock(n.since) : ", not heard of since " + shown.node + " started";
}

/* [state, sentence, more] */
function health() {
	const all = list().filter((n) => !n.member.leaving);
	const voters = all.filter((n) => !n.member.learner);
	const down = all.filter((n) => n.state === "down");
	const silent = all.filter((n) => n.state === "silent");
	const votersUp = voters.filter((n) => n.state !== "down").length;
	const majority = Math.floor(voters.length / 2) + 1;
	const partitions = partitionsNow();
	const orphans = partitions.filter((p) => !isLed(p));
	const full = all.filter((n) => figures(n) && figures(n).out_of_space);
	const hurt = all.filter((n) => figures(n) && figures(n).corrupt);
	const behind = all.filter((n) => n.state === "up" && lagOf(n.id) > LAGGING);
	const learners = all.filter((n) => n.member.learner && n.state === "up");
	const versions = new Set(all.filter((n) => n.telling).map((n) => n.member.report.version));
	const more = [];
	const downText = down.length === 1 ? down[0].name + " is down" + sinceText(down[0]) + "." :
		down.length ? names(down.map((n) => n.name)) + " are down." : "";
	const standing = votersUp + " of " + plural(voters.length, "voter") + " " + (votersUp === 1 ? "is" : "are") + " up";

	if (full.length)
		more.push("Disk full on " + names(full.map((n) => n.name)) + ": writes are refused there.");
	if (hurt.length)
		more.push("Damaged data on " + names(hurt.map((n) => n.name)) + "; " + (voters.length > 1 ? "it is fetched from other members." : "see /_/status."));
	if (silent.length)
		more.push(names(silent.map((n) => n.name)) + (silent.length === 1 ? " is" : " are") + " connected, but does not send figures: it hangs, or runs an older version.");
	if (behind.length)
		more.push(behind.map((n) => n.name + " is " + plural(lagOf(n.id), "entry", "entries") + " behind").join(", ") + ".");
	if (learners.length)
		more.push(names(learners.map((n) => n.name)) + (learners.length === 1 ? " is a learner" : " are learners") + " and does not vote.");
	if (versions.size > 1)
		more.push("Several versions run: " + names([...versions].sort()) + ".");
	if (votersUp < majority)
		return ["bad", "No majority: " + standing + ", " + majority + " are needed. Writes and up-to-date reads wait.", [downText, ...more]];
	if (orphans.length) {
		return ["bad", (orphans.length === partitions.length ? "No leader is known" : plural(orphans.length, "partition") + " of " + partitions.length + " without a leader") + ": an election is under way.", [downText, ...more]];
	}
	if (down.length)
		return ["warn", downText + " The others are a majority: reads and writes go on.",
			[standing + (votersUp === majority ? "; the next failure would stop writes." : "."), ...more]];
	if (full.length || hurt.length)
		return ["bad", more.shift(), more];
	if (silent.length || behind.length)
		return ["warn", more.shift(), more];
	if (all.length < 2)
		return ["ok", all.length ? all[0].name + " is up. It is alone: there is no second copy of its data." : "Waiting for figures.", more];
	return ["ok", "All " + all.length + " nodes are up and in step.", more];
}

function drawHealth() {
	const [state, sentence, more] = health();
	mark($("health"), "data-state", state);
	say($("health-text"), sentence);
	say($("health-more"), more.filter(Boolean).join(" "));
	$("health-more").hidden = !more.some(Boolean);
	const up = list().filter((n) => n.state === "up").length;
	document.title = (state === "ok" ? "" : state === "warn" ? "▲ " : "■ ") + up + "/" + nodes.size + " up – raftcask";
}

/* ---------------------------------------------------------------- cells -- */

function fill(e, c) {
	const key = c.v + "\0" + (c.unit || "") + "\0" + (c.sub || "") + "\0" + (c.cls || "");
	if (e.drawn === key)
		return;
	e.drawn = key;
	e.replaceChildren(el("span", c.cls ? { class: c.cls } : {}, c.v));
	if (c.unit)
		e.append(el("span", { class: "unit" }, c.unit));
	if (c.sub)
		e.append(el("span", { class: "sub" }, c.sub));
}

/* columns: [label, of(thing) -> cell, class]; the first is the row's head. */
function table(id, columns, things, keyOf, each) {
	const head = $(id + "-head");
	if (!head.children.length)
		head.append(...columns.map(([label, , cls]) => el("th", { scope: "col", role: "columnheader", class: cls || "" }, label)));
	head.firstChild.className = "left";
	const rows = keyed($(id + "-body"), things.map(keyOf), () => {
		const tr = el("tr", { role: "row" });
		columns.forEach(([label, , cls], i) => tr.append(i
			? el("td", { role: "cell", "data-label": label, class: cls || "" })
			: el("th", { scope: "row", role: "rowheader" })));
		return tr;
	});
	things.forEach((t, r) => {
		columns.forEach(([, of], i) => {
			const c = of(t), cell = rows[r].children[i];
			if (c.draw)
				c.draw(cell);
			else
				fill(cell, c);
			cell.classList.toggle("empty", Boolean(c.empty));
		});
		if (each)
			each(rows[r], t);
	});
}

const withSub = (c, sub) => Object.assign({}, c, { sub });
const of = (fn) => (n) => figures(n) ? fn(figures(n), n) : NONE;
const rated = (name) => of((f, n) => withSub(rate(n.rates ? n.rates[name] : null), count(f[name]).v + (count(f[name]).unit || "") + " in all"));

function stateText(n) {
	if (n.state === "down")
		return "down" + sinceText(n);
	if (n.state === "silent")
		return "no figures" + (n.member.report ? " for " + span(n.member.report_age_ms / 1000) : "");
	if (!n.telling)
		return "asked";
	return (n.member.leaving ? "leaving" : n.member.learner ? "up, learner" : "up");
}

function drawName(n) {
	return { draw(cell) {
		const key = [n.name, n.id === shown.id, stateText(n), n.member.http].join("\0");
		if (cell.drawn === key)
			return;
		cell.drawn = key;
		cell.replaceChildren(n.name, " ",
			n.id === shown.id ? el("span", { class: "quiet" }, "(this page) ") : "",
			el("span", { class: "sub" }, el("span", { class: "state" }, stateText(n))),
			el("span", { class: "sub" }, n.member.http || n.member.peer));
	} };
}

function roleCell(n) {
	const mine = n.member.report.partitions, led = figures(n).led, all = figures(n).partition_count;
	const role = mine.length ? ROLES[mine[0][1]] : "";
	const ready = figures(n).readiness === READY ? "" : "not ready";
	if (all > 1)
		return { v: led ? "leads " + whole(led) : "follows", cls: led ? "leader" : "",
			sub: ready || "of " + whole(all) + " partitions" };
	return { v: role, cls: role === "leader" ? "leader" : "", sub: ready };
}

const NODE_COLUMNS = [
	["Node", drawName],
	["Role", (n) => n.telling ? roleCell(n) : NONE, "left"],
	["Term", of((f, n) => ({ v: whole(Math.max(0, ...n.member.report.partitions.map((p) => p[3]))) }))],
	["Lag", (n) => n.state === "down" ? NONE : withSub(count(lagOf(n.id)), "entries")],
	["Keys", of((f) => count(f.keys))],
	["Gets", rated("gets")],
	["Sets", rated("sets")],
	["Deletes", rated("deletes")],
	["Hit rate", of((f) => percent(f.get_hits, f.get_hits + f.get_misses))],
	["In", of((f, n) => withSub(sizeRate(n.rates ? n.rates.into : null), asText(size(f.bytes_in))))],
	["Out", of((f, n) => withSub(sizeRate(n.rates ? n.rates.out : null), asText(size(f.bytes_out))))],
	["Memory", of((f, n) => withSub(size(f.rss_bytes), n.rates ? n.rates.cpu.toFixed(0) + "% CPU" : ""))],
	["Threads", of((f) => count(f.threads))],
	["Conns", of((f) => count(f.connections))],
	["Version", of((f, n) => withSub({ v: n.member.report.version }, "up " + span(f.uptime_s))), "left"],
];

/* ---------------------------------------------------------------- tiles -- */

function drawTiles() {
	const told = list().filter((n) => n.telling);
	const max = (name) => told.reduce((a, n) => Math.max(a, figures(n)[name]), 0);
	const sum = (name) => told.reduce((a, n) => a + figures(n)[name], 0);
	const now = cluster.samples[cluster.samples.length - 1] || EMPTY;
	const r = cluster.rates;
	const free = told.filter((n) => figures(n).disk_free_bytes)
		.sort((a, b) => figures(a).disk_free_bytes - figures(b).disk_free_bytes)[0];
	const hits = sum("get_hits"), gets = hits + sum("get_misses");
	const tiles = [
		["Keys", told.length ? count(max("keys")) : NONE, "on each node"],
		["Reads", rate(r ? r.gets : null), asText(percent(hits, gets)) + " found"],
		["Writes", rate(r ? r.sets + r.deletes : null), "sets and deletes"],
		["Write, p99", took(now.commit[1]), "p50 " + asText(took(now.commit[0]))],
		["Traffic", sizeRate(r ? r.into + r.out : null), r ? asText(sizeRate(r.into)) + " in" : ""],
		["Live data", told.length ? size(max("live_bytes")) : NONE, "on each node"],
		["Disk free", free ? size(figures(free).disk_free_bytes) : NONE, free && told.length > 1 ? "least, on " + free.name : ""],
	];
	keyed($("tiles"), tiles.map((t) => t[0]), (k) => el("div", {}, el("dt", {}, k), el("dd"), el("dd", { class: "note" })))
		.forEach((e, i) => {
			fill(e.children[1], tiles[i][1]);
			say(e.children[2], tiles[i][2]);
		});
}

/* --------------------------------------------------------------- charts -- */

const CHARTS = [
	["Requests", "rates", [["gets", (s) => s.gets], ["sets", (s) => s.sets], ["deletes", (s) => s.deletes]], rate,
		"Keys read, written and deleted each second."],
	["Time of a request", "times", [["p50", (s) => s.http[0]], ["p99", (s) => s.http[1]]], took,
		"From the request line to the last byte of the answer."],
	["Time of a write", "times", [["p50", (s) => s.commit[0]], ["p99", (s) => s.commit[1]]], took,
		"From the hand-over to the commit by a majority, at the node that was asked."],
	["Time of a disk sync", "times", [["p50", (s) => s.sync[0]], ["p99", (s) => s.sync[1]]], took,
		"Each time the log was made durable."],
];
const BOX = { w: 520, h: 150, left: 46, right: 6, top: 8, bottom: 18 };

/* [lowest, highest, ticks] of a linear axis that begins at 0. */
function linearAxis(top) {
	const goal = Math.max(top, 1);
	const step = [1, 2, 5, 10].map((k) => k * 10 ** Math.floor(Math.log10(goal / 2))).find((s) => s * 2 >= goal * .999) || goal;
	const high = Math.ceil(goal / step) * step;
	const ticks = [];
	for (let t = 0; t <= high + step / 2; t += step)
		ticks.push(t);
	return [0, high, ticks];
}

/* A logarithmic one: whole decades, two at least. */
function decadeAxis(values) {
	let low = Math.floor(Math.log10(Math.max(1, Math.min(...values))));
	let high = Math.ceil(Math.log10(Math.max(2, Math.max(...values))));
	if (!values.length)
		[low, high] = [2, 5];
	while (high - low < 2)
		low > 0 ? low-- : high++;
	const ticks = [];
	for (let d = low; d <= high; d++)
		ticks.push(10 ** d);
	return [low, high, ticks];
}

function makeChart([title, , lines, , about], i) {
	const legend = el("span", { class: "legend" });
	lines.forEach(([name], k) => legend.append(el("span", {},
		svg("svg", { "aria-hidden": "true", viewBox: "0 0 24 10" }, svg("path", { class: "line s" + (k + 1), d: "M1 5H23" })),
		name + " ", el("b"))));
	const box = svg("svg", { class: "box", role: "img", viewBox: `0 0 ${BOX.w} ${BOX.h}`, preserveAspectRatio: "none" });
	return el("figure", { "aria-labelledby": "chart-" + i },
		el("figcaption", { title: about }, el("h3", { id: "chart-" + i }, title), legend), box);
}

/* The path through the samples that there are; a gap where there is none. */
function pathOf(values, x, y) {
	let d = "", pen = false, points = [];
	values.forEach((v, i) => {
		if (v === null || v === undefined) {
			pen = false;
			return;
		}
		const lone = !pen && (i + 1 >= values.length || values[i + 1] === null || values[i + 1] === undefined);
		if (lone)
			points.push([x(i), y(v)]);
		d += (pen ? "L" : "M") + x(i).toFixed(1) + " " + y(v).toFixed(1);
		pen = true;
	});
	return [d, points];
}

function drawChart(figure, [title, kind, lines, unit], samples) {
	const box = figure.querySelector("svg.box");
	const width = Math.max(240, box.clientWidth || BOX.w);
	const series = lines.map(([, get]) => samples.map(get));
	const values = series.flat().filter((v) => v !== null && v !== undefined && (kind === "rates" || v > 0));
	const log = kind === "times";
	const [low, high, ticks] = log ? decadeAxis(values) : linearAxis(Math.max(0, ...values));
	const inner = width - BOX.left - BOX.right, height = BOX.h - BOX.top - BOX.bottom;
	const span = SPANS.find((s) => s >= samples.length) || HISTORY;
	const x = (i) => BOX.left + inner * (i + span - samples.length) / (span - 1);
	const y = (v) => BOX.top + height * (1 - ((log ? Math.log10(Math.max(v, 10 ** low)) : v) - low) / (high - low));
	const parts = [];

	mark(box, "viewBox", `0 0 ${width} ${BOX.h}`);
	for (const t of ticks) {
		parts.push(svg("line", { class: "rule", x1: BOX.left, x2: width - BOX.right, y1: y(t), y2: y(t) }));
		const label = svg("text", { x: BOX.left - 6, y: y(t) + 4, "text-anchor": "end" });
		const c = log ? took(t) : rate(t);
		label.textContent = log ? (t >= 1e6 ? t / 1e6 + " s" : t >= 1000 ? t / 1000 + " ms" : t + " µs")
			: c.unit === "k/s" ? t / 1000 + "k" : String(+t.toFixed(1));
		parts.push(label);
	}
	for (const [at, text, anchor] of [[0, span / 60 + " min ago", "start"], [1, "now", "end"]]) {
		const label = svg("text", { x: BOX.left + inner * at, y: BOX.h - 4, "text-anchor": anchor });
		label.textContent = text;
		parts.push(label);
	}
	series.forEach((s, k) => {
		const [d, points] = pathOf(s, x, y);
		parts.unshift(svg("path", { class: "line s" + (k + 1), d }));
		for (const [px, py] of points)
			parts.push(svg("circle", { class: "point s" + (k + 1), cx: px, cy: py, r: 1.6 }));
	});
	box.replaceChildren(...parts);
	const spoken = [];
	lines.forEach(([name, get], k) => {
		const last = samples[samples.length - 1];
		const text = last ? asText(unit(get(last))) : "–";
		say(figure.querySelectorAll(".legend b")[k], text);
		spoken.push(name + " " + text);
	});
	mark(box, "aria-label", title + " now: " + spoken.join(", ") + ".");
}

function drawCharts() {
	const whose = ["all", ...list().map((n) => n.id)];
	if (whose.length <= 2)
		whose.pop(); /* a node alone is the cluster */
	if (!whose.includes(chosen))
		chosen = "all";
	const labels = keyed($("whose"), ["legend", ...whose], (k) => k === "legend" ? $("whose").querySelector("legend") :
		el("label", {}, el("input", { type: "radio", name: "whose", value: String(k) }), el("span")));
	whose.forEach((k, i) => {
		const [input, name] = labels[i + 1].children;
		input.checked = k === chosen;
		say(name, k === "all" ? "Cluster" : nameOf(k));
	});
	$("whose").hidden = whose.length < 2;
	const grid = $("chart-grid");
	if (!grid.children.length)
		grid.append(...CHARTS.map(makeChart));
	const samples = chosen === "all" ? cluster.samples : nodes.get(chosen).samples;
	CHARTS.forEach((c, i) => drawChart(grid.children[i], c, samples));
}

/* -------------------------------------------------------------- storage -- */

function bar(live, all, what) {
	return { draw(cell) {
		const share = all ? 100 * live / all : 0;
		const key = share.toFixed(1) + what;
		if (cell.drawn === key)
			return;
		cell.drawn = key;
		const a = el("i", { class: "a" }), b = el("i", { class: "b" });
		a.style.width = share + "%";
		b.style.width = all ? 100 - share + "%" : "0";
		cell.replaceChildren(el("span", { class: "share", "aria-hidden": "true" }, a, b), el("span", { class: "sub" }, what));
	} };
}

const shareText = (live, all) => all ? asText(percent(live, all)) + " live" : "empty";

const STORAGE_COLUMNS = [
	["Node", (n) => ({ v: n.name })],
	["Live", of((f) => size(f.live_bytes))],
	["Dead", of((f) => size(f.dead_bytes))],
	["Share", (n) => figures(n) ? bar(figures(n).live_bytes, figures(n).live_bytes + figures(n).dead_bytes,
		shareText(figures(n).live_bytes, figures(n).live_bytes + figures(n).dead_bytes)) : NONE, "left wide"],
	["Merge", of((f) => f.merge_running ? { v: "running", cls: "leader", sub: plural(f.merges, "merge") + " so far" }
		: { v: "idle", sub: plural(f.merges, "merge") + " so far" }), "left"],
	["Files", of((f) => withSub(count(f.data_files), asText(size(f.merged_bytes)) + " merged"))],
	["On disk", of((f) => size(f.log_bytes + f.merged_bytes))],
	["Disk free", of((f) => f.out_of_space ? Object.assign(size(f.disk_free_bytes), { cls: "bad", sub: "writes are refused" })
		: size(f.disk_free_bytes))],
	["Index", of((f) => withSub(size(f.index_bytes), "memory"))],
	["Damage", of((f) => f.corrupt ? { v: plural(f.corrupt, "place"), cls: "bad" } : { v: "none" })],
];

const FILE_KINDS = { active: "log, being written", log: "log", merged: "merged", next: "log, kept ready" };

function makeFiles(id) {
	const head = el("tr", { role: "row" });
	for (const [i, name] of ["File", "Kind", "Size", "Dead", "Share"].entries())
		head.append(el("th", { scope: "col", role: "columnheader", class: i === 2 || i === 3 ? "" : "left" }, name));
	return el("details", {}, el("summary"),
		el("table", { class: "stack", role: "table" }, el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" })));
}

function drawFiles(box, n) {
	const files = n.member.report.files, all = figures(n).data_files;
	say(box.querySelector("summary"), "Files of " + n.name + " (" + whole(all) + ")" + (all > files.length ? ", " + files.length + " shown" : ""));
	if (!box.open)
		return;
	mark(box.querySelector("table"), "aria-label", "Files of " + n.name);
	const rows = keyed(box.querySelector("tbody"), files.map((f) => f[0]), (k) => {
		const tr = el("tr", { role: "row" }, el("th", { scope: "row", role: "rowheader" }, el("code", {}, k)));
		for (const [i, label] of ["Kind", "Size", "Dead", "Share"].entries())
			tr.append(el("td", { role: "cell", "data-label": label, class: i === 0 || i === 3 ? "left" : "" }));
		return tr;
	});
	const active = files.findIndex((f) => f[3] === "active");
	files.forEach(([, bytes, live, kind, partition], i) => {
		const cells = rows[i].children;
		if (i < active) { /* newer than the one being written */
			kind = "next";
			bytes = live = 0;
		}
		fill(cells[1], { v: FILE_KINDS[kind] + (kind === "merged" ? ", partition " + partition : "") });
		fill(cells[2], size(bytes));
		fill(cells[3], size(bytes - live));
		bar(live, bytes, shareText(live, bytes)).draw(cells[4]);
	});
}

function drawStorage() {
	table("storage", STORAGE_COLUMNS, list(), (n) => n.id, (tr, n) => mark(tr, "data-state", n.state));
	const told = list().filter((n) => n.telling);
	keyed($("files"), told.map((n) => n.id), makeFiles).forEach((box, i) => drawFiles(box, told[i]));
}

/* ----------------------------------------------------------- partitions -- */

const PARTITIONS_FIRST = 16;

function leaderCell(p) {
	if (!p[2])
		return { v: "none", cls: "bad" };
	return isLed(p) ? { v: nameOf(p[2]), cls: "leader" } : { v: nameOf(p[2]) + ", down", cls: "bad" };
}

const PARTITION_COLUMNS = [
	["Partition", (p) => ({ v: String(p[0]) })],
	["Leader", leaderCell, "left"],
	["Term", (p) => ({ v: whole(p[3]) })],
	["Keys", (p) => count(p[6])],
	["Committed entry", (p) => ({ v: whole(p[4]) })],
	["To be applied", (p) => ({ v: whole(Math.max(0, p[4] - p[5])) })],
];

function drawPartitions() {
	const all = partitionsNow();
	const told = list().filter((n) => n.telling);
	const total = told.reduce((a, n) => Math.max(a, figures(n).partition_count), all.length);
	const some = allPartitions ? all : all.slice(0, PARTITIONS_FIRST);
	say($("leads"), total > 1 ? told.map((n) => n.name + " leads " + figures(n).led).join(", ") + ", of " + whole(total) + "." : "");
	$("leads").hidden = total <= 1;
	table("partitions", PARTITION_COLUMNS, some, (p) => p[0]);
	const button = $("partitions-all");
	button.hidden = all.length <= PARTITIONS_FIRST;
	say(button, allPartitions ? "Show the first " + PARTITIONS_FIRST
		: "Show " + (total > all.length ? "the first " : "all ") + whole(all.length) + " partitions" + (total > all.length ? " of " + whole(total) : ""));
}

/* --------------------------------------------------------------- events -- */

const where = (e) => e.partition < 0 ? "" : e.count > 1 ? whole(e.count) + " partitions" : "partition " + e.partition;

const EVENTS = {
	1: (e) => e.node + " started",
	2: (e) => e.node + " leads " + where(e) + " in term " + e.a,
	3: (e) => e.node + " no longer leads " + where(e),
	4: (e) => e.node + " lost its majority for " + where(e),
	5: (e) => e.node + " hands " + where(e) + " over to " + nameOf(e.subject),
	6: (e) => "members of " + where(e) + ": " + plural(e.a, "voter") + (e.b ? ", " + plural(e.b, "learner") : ""),
	7: (e) => nameOf(e.subject) + " is reached by " + names(e.by),
	8: (e) => names(e.by) + " lost " + nameOf(e.subject),
	9: (e) => e.node + " began a merge of " + plural(e.a, "file"),
	10: (e) => e.node + " ended " + (e.much > 1 ? whole(e.much) + " merges" : "a merge") + ": " + asText(size(e.a)) + " kept",
	11: (e) => "a merge failed on " + e.node + ", it is tried again",
	12: (e) => e.node + " sends the state of " + where(e) + " to " + nameOf(e.subject),
	13: (e) => e.node + " took over the state of " + where(e),
	14: (e) => "damage found on " + e.node + " in file " + e.a.toString(16).padStart(8, "0") + " at " + whole(e.b),
	15: (e) => e.node + " mended a record with the copy of " + nameOf(e.subject),
	16: (e) => "the disk of " + e.node + " is full: writes are refused",
	17: (e) => "the disk of " + e.node + " has room again",
	18: (e) => "the disk of " + e.node + " stalls: a sync took " + asText(took(e.a * 1000)),
	19: (e) => nameOf(e.subject) + " has left the cluster",
};
const PEER_EVENTS = [7, 8], MERGE_BEGUN = 9, MERGE_DONE = 10, TROUBLE = [4, 8, 11, 14, 16, 18];
const NEAR_MS = 3000, MERGES_MS = 60000, EVENTS_SHOWN = 40;

/* The earlier of two events that are one to people, of those in out, or none. */
function sameEvent(out, e) {
	if (PEER_EVENTS.includes(e.kind))
		return out.find((o) => o.kind === e.kind && o.subject === e.subject &&
			o.at - e.at < NEAR_MS && !o.by.includes(e.node));
	if (e.kind === MERGE_DONE)
		return out.find((o) => o.kind === e.kind && o.node === e.node && o.last - e.at < MERGES_MS);
	if (e.kind === MERGE_BEGUN) /* it has ended, which is said already */
		return out.find((o) => o.kind === MERGE_DONE && o.node === e.node && o.last >= e.at);
	return null;
}

/*
 * All nodes' events, newest first; what several saw of a peer is one, and so
 * are merges that follow each other.
 */
function eventsNow() {
	const all = [];
	for (const n of list())
		if (n.last || (n.member && n.member.report))
			for (const [number, at, kind, partition, much, subject, a, b] of (n.member.report || n.last).events)
				all.push({ key: n.id + "." + number, at, kind, partition, count: much, subject, a, b, node: n.name, by: [n.name], last: at, much: 1 });
	all.sort((x, y) => y.at - x.at || (x.key < y.key ? 1 : -1));
	const out = [];
	for (const e of all) {
		const same = sameEvent(out, e);
		if (!same) {
			out.push(e);
		} else if (e.kind === MERGE_DONE) {
			same.a += e.a;
			same.much++;
			same.last = e.at;
		} else if (e.kind !== MERGE_BEGUN) {
			same.by = same.by.concat([e.node]).sort();
		}
	}
	return out.slice(0, EVENTS_SHOWN);
}

function drawEvents() {
	const events = eventsNow();
	const keys = events.length ? events.map((e) => e.key) : ["none"];
	const rows = keyed($("events-list"), keys, (k) => k === "none" ? el("li", { class: "none" }, "Nothing yet.")
		: el("li", {}, el("time"), el("span")));
	events.forEach((e, i) => {
		const [time, text] = rows[i].children;
		mark(time, "datetime", new Date(e.at).toISOString());
		say(time, clock(e.at));
		say(text, EVENTS[e.kind] ? EVENTS[e.kind](e) : "something that this version has no words for (" + e.kind + ") on " + e.node);
		text.className = TROUBLE.includes(e.kind) ? "warn" : "";
	});
}

/* ------------------------------------------------------------ all of it -- */

function draw() {
	if (!shown)
		return;
	say($("where"), "seen from " + shown.node);
	mark($("where"), "title", "Cluster " + shown.cluster + ", " + shown.address);
	drawHealth();
	drawTiles();
	table("nodes", NODE_COLUMNS, list(), (n) => n.id, (tr, n) => mark(tr, "data-state", n.telling ? "up" : n.state));
	drawCharts();
	drawStorage();
	drawPartitions();
	drawEvents();
}

/* ----------------------------------------------------------- connection -- */

const STALE_MS = 6000, WAIT_MIN_MS = 1000, WAIT_MAX_MS = 15000, HIDDEN_MS = 30000;
const EVENT_CHARS_MAX = 16 << 20;
let connection = null, waitMs = WAIT_MIN_MS, timer = 0, watchdog = 0, token = "";
let lastEvent = 0, everShown = false;

try {
	token = sessionStorage.getItem("raftcask-token") || "";
} catch {
	/* a browser that keeps nothing asks again */
}

function live(state, text) {
	mark($("live"), "data-state", state);
	say($("live-text"), text);
}

function showLost(why) {
	say($("lost-what"), why);
	const others = list().filter((n) => n.id !== (shown && shown.id) && n.member.http);
	$("lost-others").replaceChildren(...(others.length ? ["or look at it from "] : []), ...others.flatMap((n, i) =>
		[i ? ", " : "", el("a", { href: location.protocol + "//" + n.member.http + "/_/monitor" }, n.name)]));
	$("lost").hidden = false;
	document.body.setAttribute("data-lost", "");
	live("off", "not connected");
	document.title = "■ not connected – raftcask";
}

function showFound() {
	$("lost").hidden = true;
	document.body.removeAttribute("data-lost");
	$("ask").hidden = true;
	$("view").hidden = false;
}

function askToken(why) {
	$("lost").hidden = true;
	$("view").hidden = true;
	const first = $("ask").hidden;
	$("ask").hidden = false;
	if (why) {
		say($("ask-why"), why);
		$("ask-why").className = "wrong";
	}
	live("off", "a token is needed");
	document.title = "raftcask: a token is needed";
	if (first)
		$("token").focus();
}

/* Come again after a while, longer each time. */
function later(why) {
	const ms = waitMs * (.8 + .4 * Math.random());
	const at = Date.now() + ms;
	showLost(why);
	clearInterval(timer);
	const tell = () => {
		const left = Math.ceil((at - Date.now()) / 1000);
		if (left <= 0) {
			clearInterval(timer);
			connect();
		} else {
			say($("lost-next"), "Trying again in " + left + " s.");
		}
	};
	tell();
	timer = setInterval(tell, 500);
	waitMs = Math.min(waitMs * 2, WAIT_MAX_MS);
}

function takeText(text) {
	for (const line of text.split("\n")) {
		if (!line.startsWith("data: "))
			continue;
		lastEvent = Date.now();
		waitMs = WAIT_MIN_MS;
		if (paused)
			return;
		takeEvent(JSON.parse(line.slice(6)));
		live("on", "live");
		if (!everShown || $("view").hidden || !$("lost").hidden)
			showFound();
		everShown = true;
		draw();
	}
}

async function readAll(response, mine) {
	const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	for (;;) {
		const { value, done } = await reader.read();
		if (done || mine !== connection)
			return;
		rest += value;
		if (rest.length > EVENT_CHARS_MAX)
			throw new Error("an event without end");
		for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
			const text = rest.slice(0, end);
			rest = rest.slice(end + 2);
			takeText(text);
		}
	}
}

/* What a node says that answers, but does not serve. */
async function reasonOf(response) {
	try {
		const { error } = await response.json();
		if (response.status === 503) {
			const ready = await (await fetch("/_/ready", { cache: "no-store" })).json();
			return "The node is there, but does not serve yet: " + (ready.error || error).message + ".";
		}
		return "The node answers: " + error.message + ".";
	} catch {
		return "The node answers with status " + response.status + ".";
	}
}

const hostText = () => (shown ? shown.node + " (" + location.host + ")" : location.host);

async function connect() {
	clearInterval(timer);
	if (connection)
		connection.abort();
	const mine = connection = new AbortController();
	let why = "This page has lost its connection to " + hostText() + ".";
	if (everShown)
		live("", "connecting");
	lastEvent = Date.now();
	clearInterval(watchdog);
	watchdog = setInterval(() => {
		if (Date.now() - lastEvent > STALE_MS)
			mine.abort();
	}, 1000);
	try {
		const response = await fetch("/_/monitor/events", {
			headers: token ? { Authorization: "Bearer " + token } : {},
			cache: "no-store", signal: mine.signal });
		if (response.status === 401) {
			clearInterval(watchdog);
			askToken(token ? "The node does not know this token." : "");
			return;
		}
		if (response.ok)
			await readAll(response, mine);
		else
			why = await reasonOf(response);
	} catch (error) {
		if (error instanceof SyntaxError)
			why = "What " + hostText() + " sent cannot be read.";
	}
	if (mine !== connection)
		return; /* another took over */
	mine.abort();
	clearInterval(watchdog);
	later(why);
}

function connectNow() {
	waitMs = WAIT_MIN_MS;
	connect();
}

/* A page that nobody sees takes no place at the node. */
let away = 0;
document.addEventListener("visibilitychange", () => {
	clearTimeout(away);
	if (document.hidden) {
		away = setTimeout(() => {
			const old = connection;
			connection = null;
			clearInterval(watchdog);
			clearInterval(timer);
			if (old)
				old.abort();
		}, HIDDEN_MS);
	} else if (!connection && $("ask").hidden) {
		connectNow();
	}
});

/* --------------------------------------------------------- what one does -- */

const THEMES = ["auto", "light", "dark"];
const DARK = [...document.styleSheets[0].cssRules].find(
	(r) => r.media && r.media.mediaText.includes("prefers-color-scheme"));
/* When the dark colours hold. */
const DARK_WHEN = { auto: DARK.media.mediaText, light: "not all", dark: "all" };

function setTheme(theme) {
	DARK.media.mediaText = DARK_WHEN[theme];
	if (theme === "auto")
		document.documentElement.removeAttribute("data-theme");
	else
		document.documentElement.setAttribute("data-theme", theme);
	say($("theme"), theme[0].toUpperCase() + theme.slice(1));
	mark($("theme"), "aria-label", "Colours: " + (theme === "auto" ? "as the system says" : theme));
	try {
		localStorage.setItem("raftcask-theme", theme);
	} catch {
		/* it holds for this page then */
	}
}

function nextTheme() {
	const now = document.documentElement.getAttribute("data-theme") || "auto";
	setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
}

function setPaused(on) {
	paused = on;
	mark($("pause"), "aria-pressed", String(on));
	if (on)
		live("", "paused");
}

function goTo(id) {
	const e = $(id);
	e.focus({ preventScroll: true });
	e.scrollIntoView();
}

function nextNode() {
	const whose = ["all", ...list().map((n) => n.id)];
	if (whose.length > 2) {
		chosen = whose[(whose.indexOf(chosen) + 1) % whose.length];
		drawCharts();
	}
}

const KEYS = {
	"0": () => { scrollTo(0, 0); $("main").focus({ preventScroll: true }); },
	"1": () => goTo("nodes"), "2": () => goTo("charts"), "3": () => goTo("storage"),
	"4": () => goTo("partitions"), "5": () => goTo("events"),
	"n": nextNode, "p": () => setPaused(!paused), "r": connectNow, "t": nextTheme,
	"?": () => $("keys").showModal(),
};

document.addEventListener("keydown", (e) => {
	if (e.ctrlKey || e.metaKey || e.altKey || $("keys").open || !$("keys-on").checked)
		return;
	if (e.target.matches("input:not([type=radio]):not([type=checkbox]), textarea, select"))
		return;
	const act = KEYS[e.key];
	if (act) {
		e.preventDefault();
		act();
	}
});

$("pause").addEventListener("click", () => setPaused(!paused));
$("theme").addEventListener("click", nextTheme);
$("help").addEventListener("click", () => $("keys").showModal());
$("keys-close").addEventListener("click", () => $("keys").close());
$("retry").addEventListener("click", connectNow);
$("partitions-all").addEventListener("click", () => {
	allPartitions = !allPartitions;
	drawPartitions();
});
$("whose").addEventListener("change", (e) => {
	chosen = e.target.value === "all" ? "all" : Number(e.target.value);
	drawCharts();
});
$("files").addEventListener("toggle", () => shown && drawStorage(), true);
addEventListener("resize", () => shown && drawCharts());
$("ask").addEventListener("submit", (e) => {
	e.preventDefault();
	token = $("token").value.trim();
	$("token").value = "";
	try {
		sessionStorage.setItem("raftcask-token", token);
	} catch {
		/* it holds for this page then */
	}
	connectNow();
});

try {
	const kept = localStorage.getItem("raftcask-theme");
	setTheme(THEMES.includes(kept) ? kept : "auto");
} catch {
	setTheme("auto");
}
connect();
