// What a person says of the rows of a file of verdicts. It stays in this browser, by pair, so that a longer review of
// the same set finds it again, and it is saved as that file. Without columns there is no file.
const WORD_OF_KEY = {f: "fits", y: "fits", d: "does not", n: "does not", c: "can't tell", "?": "can't tell"};
function collectVerdicts(rows, columns, line) {
  const shelf = `clap-verdicts-${rows[0].set}`, keyOf = row => `${row.audio_id}\n${row.caption}\n${row.similarity}`;
  const read = () => { try { return JSON.parse(localStorage.getItem(shelf)) || {}; } catch { return {}; } };
  const before = read();
  let unsaved = false;
  for (const row of rows) row.verdict = row.verdict || before[keyOf(row)] || "";

  function keep(changed) {
    const said = read();  // another page of the set may have been judged meanwhile
    for (const row of changed) { if (row.verdict) said[keyOf(row)] = row.verdict; else delete said[keyOf(row)]; }
    try { localStorage.setItem(shelf, JSON.stringify(said)); line.textContent = unsaved ? "Kept in this browser; save the file to use them." : ""; }
    catch { line.textContent = columns.length ? "This browser keeps nothing: save the file before you close the page." : ""; }
  }
  function judge(row, word) {
    row.verdict = row.verdict === word ? "" : word;
    unsaved = columns.length > 0;
    keep([row]);
  }
  function save() {
    const quote = value => `"${String(value).replaceAll('"', '""')}"`;
    const lines = [columns, ...rows.map(row => columns.map(name => row[name]))].map(cells => cells.map(quote).join(","));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], {type: "text/csv"}));
    link.download = "verdicts.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    unsaved = false;
    keep([]);
  }
  addEventListener("beforeunload", event => { if (unsaved) event.preventDefault(); });
  keep(rows.filter(row => row.verdict));
  return {judge, save, count: word => rows.filter(row => row.verdict === word).length};
}
