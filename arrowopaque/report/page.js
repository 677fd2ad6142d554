
const figures = JSON.parse(document.getElementById("figures").textContent);
const main = document.getElementById("main");

// Theme: as the system has it, unless somebody chooses; the choice is kept where the browser lets it.

function remembered() {
  try { return localStorage.getItem("arrowopaque-theme") || "system"; } catch { return "system"; }
}

function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("arrowopaque-theme", theme); } catch { /* A page that may store nothing keeps it until it is left. */ }
}

setTheme(remembered());

// Parts of the page.

function section(id, title, ...children) {
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), ...children);
}

function table(caption, heads, rows) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", null,
      el("caption", null, caption),
      el("thead", null, el("tr", null, ...heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", null, ...rows.map((row) => el("tr", null,
        ...row.map((cell, at) => at ? el("td", null, cell) : el("th", { scope: "row" }, cell)))))));
}

function asTable(...of) {
  return el("details", null, el("summary", null, "The same as a table"), table(...of));
}

const HINT = " Point at a mark of a chart, or go there by tab and arrow keys, and it says what it is.";

function chart(label, made, typical) {
  const detail = el("p", { class: "detail" });
  const whole = el("div", { role: "group", "aria-label": `${label}: ${plural(made.marks.length, "mark")}, arrow keys move` }, made.element);
  rove(whole, made.marks, detail, made.marks.length ? made.marks[typical || 0].text : "");
  return [whole, detail];
}

const highest = (items) => items.reduce((best, item, at) => item.value > items[best].value ? at : best, 0);

function chosen(state, draw, makeControls) {
  // Controls stay; what they choose is drawn anew.
  const body = el("div", { class: "drawn" });
  const set = (name) => (value) => { state[name] = value; body.replaceChildren(...draw()); };
  const element = el("div", null, el("div", { class: "controls" }, ...makeControls(set)), body);
  body.replaceChildren(...draw());
  return element;
}

const TITLES = {
  dataset_type: "Dataset type", run: "Run", storage_class: "Storage class", formatter: "Formatter", table: "Table",
};
const UNKNOWN = "datasets that are not known";

// What is stored.

function namesOf(by, groups) {
  const full = groups.map((group) => group.name === null ? UNKNOWN : group.name);
  const last = full.map((name) => by === "formatter" ? name.slice(name.lastIndexOf(".") + 1) || name : name);
  return full.map((name, at) => last.indexOf(last[at]) === last.lastIndexOf(last[at]) ? last[at] : name);
}

function itemsOf(grouping, measure) {
  const format = measure === "bytes" ? bytes : short;
  const names = namesOf(grouping.by, grouping.groups);
  const all = grouping.groups.map((group, at) => ({ ...group, full: group.name === null ? UNKNOWN : group.name, name: names[at] }));
  all.sort((a, b) => b[measure] - a[measure]);
  if (grouping.others) {
    const name = `${count(grouping.others)} others`;
    all.push({ name, full: name, files: grouping.other_files, bytes: grouping.other_bytes, rest: true });
  }
  const whole = all.reduce((sum, item) => sum + item[measure], 0);
  return all.map((item) => ({
    ...item, value: item[measure], shown: `${format(item[measure])}`,
    text: `${item.full}: ${bytes(item.bytes)} in ${plural(item.files, "file")}, ${share(item[measure], whole)} of all ${measure}`,
  }));
}

function stored(contents) {
  const groupings = Object.fromEntries(contents.groupings.map((grouping) => [grouping.by, grouping]));
  const state = { by: contents.groupings[0].by, measure: contents.bytes ? "bytes" : "files", view: "treemap" };
  const draw = () => {
    const grouping = groupings[state.by], items = itemsOf(grouping, state.measure);
    const label = `${state.measure} by ${TITLES[state.by].toLowerCase()}`;
    if (!items.some((item) => item.value > 0)) return [el("p", { class: "empty" }, `No ${state.measure} to draw.`)];
    const made = state.view === "treemap" ? treemap(items) : bars(items);
    return [
      ...chart(`${state.view === "treemap" ? "Treemap" : "Bars"}: ${label}`, made),
      asTable(label, [TITLES[state.by], "Bytes", "Files", "Mean size"], items.map((item) => [
        item.full, bytes(item.bytes), count(item.files), item.files ? bytes(item.bytes / item.files) : "",
      ])),
    ];
  };
  return section("stored", "What is stored",
    el("p", null, `${plural(contents.files, "file")} of ${bytes(contents.bytes)}, named by ${plural(contents.records, "datastore record")}.`
      + (figures.has_datasets ? "" : " Dataset types and runs are not told apart: nothing here says which dataset is of which.") + HINT),
    chosen(state, draw, (set) => [
      segmented("Group by", contents.groupings.map(({ by }) => [by, TITLES[by]]), state.by, set("by")),
      segmented("Measure", [["bytes", "Bytes"], ["files", "Files"]], state.measure, set("measure")),
      segmented("Show as", [["treemap", "Treemap"], ["bars", "Bars"]], state.view, set("view")),
    ]));
}

// File sizes.

const limit = (n) => scaled(n, 1000, [" B", " kB", " MB", " GB", " TB", " PB", " EB"]);

function sizes(contents) {
  const state = { measure: "files" };
  const bins = contents.sizes.map((bin) => ({
    ...bin, name: bin.least ? `${limit(bin.least)} to ${limit(bin.below)}` : "no bytes",
  }));
  const draw = () => {
    const format = state.measure === "bytes" ? bytes : short;
    const whole = bins.reduce((sum, bin) => sum + bin[state.measure], 0);
    const items = bins.map((bin) => ({
      value: bin[state.measure],
      text: `${bin.name}: ${plural(bin.files, "file")}, ${bytes(bin.bytes)}, ${share(bin[state.measure], whole)} of all ${state.measure}`,
      tick: bin.least === 0 ? "0" : /^1/.test(String(bin.least)) ? limit(bin.least) : undefined,
    }));
    return [
      ...chart(`Columns: ${state.measure} by file size`, columns(items, { format, unit: state.measure }), highest(items)),
      asTable(`${state.measure} by file size`, ["Size", "Files", "Bytes"], bins.map((bin) => [bin.name, count(bin.files), bytes(bin.bytes)])),
      contents.largest.length && el("details", null, el("summary", null, "The largest files"),
        table("the largest files", ["Path", "Size"], contents.largest.map((file) => [file.path, bytes(file.bytes)]))),
    ].filter(Boolean);
  };
  const mean = contents.records > contents.unknown_sizes
    ? `On average a file has ${bytes(contents.bytes / contents.files)}; the largest ${bytes(contents.largest.length ? contents.largest[0].bytes : 0)}.`
    : "No size is known.";
  if (!bins.length) return section("sizes", "File sizes", el("p", { class: "empty" }, mean));
  return section("sizes", "File sizes", el("p", null, `${mean} Each column is about twice the size of the one before.`),
    chosen(state, draw, (set) => [
      segmented("Measure", [["files", "Files"], ["bytes", "Bytes"]], state.measure, set("measure")),
    ]));
}

// Growth.

function tablePicker(tables, state, set) {
  return tables.length > 1
    ? [picker("Table", tables.map((one, at) => [String(at), one.name]), String(state.table), set("table"))] : [];
}

const bySize = (tables) => [...tables].sort((a, b) => b.rows - a.rows || (a.name < b.name ? -1 : 1));

function growth() {
  const tables = bySize(figures.tables.filter((one) => one.growth.length));
  const state = { table: "0", measure: "rows", along: "version" };
  const draw = () => {
    const one = tables[Number(state.table)], points = one.growth;
    const format = state.measure === "bytes" ? bytes : short;
    const isTime = state.along === "time";
    const places = points.map((point) => ({
      x: isTime ? Date.parse(point.created) : point.version, y: point[state.measure],
      text: `Version ${count(point.version)}, ${moment(point.created)}: ${plural(point.rows, "row")} and ${bytes(point.bytes)} in ${plural(point.files, "data file")}`,
    })).sort((a, b) => a.x - b.x);
    const ends = places.length > 1 ? [0, 1] : [0.5];
    const ticks = ends.map((at) => {
      const x = places[at === 1 ? places.length - 1 : 0].x;
      return { at, text: isTime ? moment(new Date(x).toISOString()) : `version ${count(x)}` };
    });
    const label = `${state.measure} in data files of ${one.name} by ${state.along}`;
    return [
      ...chart(`Line: ${label}`, line(places, { format, unit: state.measure, ticks }), places.length - 1),
      asTable(label, ["Version", "When", "Rows", "Bytes", "Data files"], points.map((point) => [
        count(point.version), moment(point.created), count(point.rows), bytes(point.bytes), count(point.files),
      ])),
    ];
  };
  if (!tables.length) return section("growth", "Growth", el("p", { class: "empty" }, "No table has data files yet."));
  return section("growth", "Growth", el("p", null, "Rows and bytes in data files, as far back as manifests are kept: a vacuum takes old ones." + (figures.contents ? "" : HINT)),
    chosen(state, draw, (set) => [
      ...tablePicker(tables, state, set),
      segmented("Measure", [["rows", "Rows"], ["bytes", "Bytes"]], state.measure, set("measure")),
      segmented("Along", [["version", "By version"], ["time", "By time"]], state.along, set("along")),
    ]));
}

// Tables, their partitions and data files.

function unknown(n) { return n === null ? "unknown" : count(n); }

function overview() {
  return table("opaque tables", ["Table", "Rows", "Data files", "Partitions", "Deleted in files", "Size", "Bytes a row", "Version"],
    bySize(figures.tables).map(({ name, rows, files }) => files ? [
      name, count(rows), count(files.files), count(files.partitions),
      share(files.deleted, files.rows + files.deleted), bytes(files.bytes),
      files.rows ? (files.bytes / files.rows).toFixed(1) : "", count(files.version),
    ] : [name, count(rows), "0", "0", "", "", "", ""]));
}

function partName(part) {
  const from = part.first + 1;
  return part.partitions > 1 ? `Partitions ${count(from)} to ${count(part.first + part.partitions)}` : `Partition ${count(from)}`;
}

function health() {
  const tables = bySize(figures.tables.filter((one) => one.files && one.files.parts.length));
  const state = { table: "0", measure: "rows" };
  const draw = () => {
    const one = tables[Number(state.table)], files = one.files;
    const format = state.measure === "bytes" ? bytes : short;
    const items = files.parts.map((part, at) => ({
      value: state.measure === "rows" ? part.rows + part.deleted : part[state.measure],
      parts: state.measure === "rows" ? [part.rows, part.deleted] : undefined,
      text: `${partName(part)} of ${count(files.partitions)}: ${plural(part.rows, "row")}, ${count(part.deleted)} deleted `
        + `(${share(part.deleted, part.rows + part.deleted)}), ${bytes(part.bytes)} in ${plural(part.files, "data file")}`,
      tick: at === 0 || at === files.parts.length - 1 || (at + 1) % 10 === 0 ? count(part.first + 1) : undefined,
      centred: true,
    }));
    const label = `${state.measure} by partition of ${one.name}`;
    return [
      ...chart(`Columns: ${label}`, columns(items, { format, unit: state.measure === "files" ? "data files" : state.measure }), highest(items)),
      state.measure === "rows" && el("p", { class: "legend" },
        el("span", null, el("i", { class: "key" }), "rows"), el("span", null, el("i", { class: "key second" }), "deleted, still in files")),
      asTable(label, ["Partition", "Rows", "Deleted", "Bytes", "Data files"], files.parts.map((part) => [
        partName(part), count(part.rows), count(part.deleted), bytes(part.bytes), count(part.files),
      ])),
      files.worn.length && el("details", null,
        el("summary", null, `${plural(files.worn_files, "data file")} with many deleted rows`),
        table("data files with the largest share of deleted rows", ["File", "Rows", "Deleted", "Bytes"],
          files.worn.map((file) => [file.path, count(file.rows), count(file.deleted), bytes(file.bytes)]))),
    ].filter(Boolean);
  };
  return section("health", "Tables and partitions", overview(),
    tables.length ? chosen(state, draw, (set) => [
      ...tablePicker(tables, state, set),
      segmented("Measure", [["rows", "Rows"], ["bytes", "Bytes"], ["files", "Data files"]], state.measure, set("measure")),
    ]) : el("p", { class: "empty" }, "No table has data files yet."));
}

// Delta and tombstones.

function recent() {
  const title = "Recent rows";
  if (figures.kind === "root") {
    return section("recent", title, el("p", null,
      "None: a root without a registry keeps every committed row in data files, and has neither delta nor tombstones."));
  }
  if (figures.kind === "published") {
    return section("recent", title, el("p", null,
      figures.at ? "Not known: rows and deletions that were not flushed then are kept by the database alone, and have no versions."
        : "Not known: this is the root of a repository's store. Rows and deletions since the last flush are in its database; ask the repository for them."));
  }
  const tables = bySize(figures.tables).slice(0, 200);
  const of = tables.map((one) => ({ ...one, inFiles: Math.max(0, one.rows - (one.delta || 0)) }));
  const items = of.map((one) => ({
    name: one.name, value: one.rows, parts: [one.inFiles, one.delta || 0], shown: `${short(one.delta || 0)} recent`,
    text: `${one.name}: ${plural(one.inFiles, "row")} in data files, ${unknown(one.delta)} only in the database (${share(one.delta || 0, one.rows)}), ${unknown(one.tombstones)} tombstones`,
  }));
  const label = "rows in data files and in the database";
  return section("recent", title,
    el("p", null, "Rows that a flush has not moved to data files yet are in the database; tombstones are rows of data files whose deletion is."),
    el("p", { class: "legend" }, el("span", null, el("i", { class: "key" }), "in data files"),
      el("span", null, el("i", { class: "key second" }), "only in the database")),
    el("div", { class: "controls" }), ...chart(`Bars: ${label}`, bars(items)),
    asTable(label, ["Table", "In data files", "Only in the database", "Tombstones"],
      of.map((one) => [one.name, count(one.inFiles), unknown(one.delta), unknown(one.tombstones)])));
}

// Compression.

function compression() {
  const { rows, bytes: here, bytes_a_row: each, sql_bytes_a_row: sql, sql_bytes: there } = figures.compression;
  const title = "Against SQL";
  if (!rows) return section("compression", title, el("p", { class: "empty" }, "No datastore record is in a data file yet."));
  const items = [
    { name: "Here, measured", value: each, shown: `${each.toFixed(1)} bytes a row`,
      text: `Measured here: ${each.toFixed(1)} bytes a row, ${bytes(here)} for ${plural(rows, "row")}` },
    { name: "In SQL, estimate", value: sql, shown: `about ${count(sql)} bytes`, estimate: true,
      text: `Estimate for SQL: about ${count(sql)} bytes a row, about ${bytes(there)} for as many rows` },
  ];
  const times = each < sql ? `${(sql / each).toFixed(sql / each < 10 ? 1 : 0)} times smaller than SQL would be, by estimate.` : "";
  const few = rows < 10000 ? " In so few rows the fixed parts of each file weigh most." : "";
  return section("compression", title,
    el("p", null, `${plural(rows, "datastore record")} in ${bytes(here)} of data files. ${times}${few}`),
    el("div", { class: "controls" }), ...chart("Bars: bytes a row", bars(items)),
    el("p", { class: "muted" }, `The first is measured: data files, indexes and deletion vectors of this store. The second was not measured here: `
      + `records took 564 bytes in SQLite and 647 in PostgreSQL, indexes included, when they were compared.`),
    asTable("bytes a row", ["Where", "Bytes a row", "All rows"], [
      ["Here, measured", each.toFixed(1), bytes(here)], ["In SQL, an estimate", `about ${count(sql)}`, `about ${bytes(there)}`],
    ]));
}

// Warnings.

function adviceItem(item) {
  return el("li", { class: item.severity },
    el("div", null, el("span", { class: "word" }, item.severity), el("strong", null, item.title)),
    el("p", null, item.detail, item.command && " ", item.command && el("code", null, item.command)));
}

function advice() {
  const of = figures.advice;
  if (!of.length) return section("advice", "Warnings", el("p", null, "None. A quick verification found the store sound."));
  const shown = of.slice(0, 6), rest = of.slice(6);
  return section("advice", "Warnings",
    el("ul", { class: "advice" }, ...shown.map(adviceItem)),
    rest.length > 0 && el("details", null, el("summary", null, `${count(rest.length)} more`),
      el("ul", { class: "advice" }, ...rest.map(adviceItem))));
}

// Headline.

function tile(value, what, more) {
  return el("div", null, el("dt", null, what), el("dd", null, value), more && el("dd", { class: "more" }, more));
}

function tiles() {
  const { contents, compression: against } = figures;
  const serious = figures.advice.filter((item) => item.severity !== "note").length;
  const recentRows = figures.tables.reduce((sum, one) => sum + (one.delta || 0), 0);
  const dead = figures.tables.reduce((sum, one) => sum + (one.tombstones || 0), 0);
  return el("dl", { class: "tiles" },
    contents && tile(bytes(contents.bytes), "in files of datasets", contents.unknown_sizes ? `${count(contents.unknown_sizes)} sizes not known` : null),
    contents && tile(short(contents.files), contents.files === 1 ? "file" : "files"),
    tile(short(figures.rows), figures.rows === 1 ? "row" : "rows", `in ${plural(figures.tables.length, "opaque table")}`),
    tile(bytes(figures.bytes), "of data files", against.bytes_a_row ? `${against.bytes_a_row.toFixed(1)} bytes a record; SQL about ${against.sql_bytes_a_row}` : null),
    figures.kind === "repository" && tile(short(recentRows), "recent rows in the database", plural(dead, "tombstone")),
    tile(count(serious), serious === 1 ? "warning" : "warnings", plural(figures.advice.length - serious, "note")));
}

function header() {
  const kinds = {
    repository: "Butler repository", root: "store without a registry", published: `data files of a Butler repository${figures.at ? "" : ", as last published"}`,
  };
  const contents = figures.contents;
  const links = [["advice", "Warnings"], contents && ["stored", "What is stored"], contents && ["sizes", "File sizes"], ["growth", "Growth"],
    ["health", "Tables and partitions"], ["recent", "Recent rows"], ["compression", "Against SQL"]];
  document.getElementById("header").append(
    el("div", { class: "what" },
      el("h1", null, figures.place),
      el("p", { class: "muted" }, `${kinds[figures.kind]}, ${figures.at ? `as of ${/^\d+$/.test(figures.at) ? "version " : ""}${figures.at}, ` : ""}looked at ${moment(figures.began)}. Store at ${figures.uri}`)),
    segmented("Theme", [["system", "System"], ["light", "Light"], ["dark", "Dark"]], remembered(), setTheme));
  document.getElementById("header").after(el("nav", { "aria-label": "Sections" },
    ...links.filter(Boolean).map(([id, text]) => el("a", { href: `#${id}` }, text))));
  document.getElementById("footer").append(
    el("p", null, `Made by arrowopaque ${figures.release}. Questions were asked one after another until ${moment(figures.ended)}; `
      + "what was written meanwhile may be in some figures and not in others. Units are decimal: 1 kB is 1000 bytes."));
}

function page() {
  const contents = figures.contents;
  header();
  main.replaceChildren(...[
    tiles(), advice(),
    contents && contents.records > 0 && stored(contents),
    contents && contents.records > 0 && sizes(contents),
    growth(), health(),
    el("div", { class: "columns" }, recent(), compression()),
  ].filter(Boolean));
}

page();
