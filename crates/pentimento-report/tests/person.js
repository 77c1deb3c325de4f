// Acts like a person on the report it is put into, and tells the enclosing page what was seen.
addEventListener("load", () => setTimeout(async () => {
  const report = {};
  const pause = () => new Promise((done) => setTimeout(done, 50));
  const shown = () => [...document.querySelectorAll(".sample")]
    .filter((one) => one.checkVisibility()).map((one) => one.id).join();
  const press = async (key, target = document.body) => {
    target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    await pause();
  };
  const choose = async (id, value) => {
    const select = document.getElementById(id);
    select.value = value;
    select.dispatchEvent(new Event("change", { bubbles: true }));
    await pause();
  };
  report.first = shown();
  await press("ArrowRight");
  report.farAway = shown();
  location.hash = "#sample-3";
  await pause();
  report.linked = shown();
  report.focus = document.activeElement.id;
  await press("ArrowRight"); await press("ArrowRight"); await press("ArrowLeft");
  report.stepped = shown();
  document.querySelector("#sample-4 details").open = true;
  await press("ArrowRight", document.querySelector("#sample-4 .scroll"));
  report.inTable = shown();
  location.hash = "#cost";
  await pause();
  report.elsewhere = shown();
  location.hash = "#sample-0";
  await pause();
  await press("ArrowLeft");
  report.beforeFirst = shown();
  await choose("filter-seen", "1");
  const left = [...document.querySelectorAll(".cell:not([hidden])")];
  report.filtered = left.length;
  report.filterCount = document.getElementById("filter-count").textContent;
  await press("ArrowRight");
  report.steppedFiltered = left.some((cell) => cell.querySelector("a").hash === "#" + shown());
  await choose("filter-seen", "");
  report.unfiltered = document.querySelectorAll(".cell:not([hidden])").length;
  for (const details of document.querySelectorAll("details")) details.open = true;
  await pause();
  report.overflow = document.scrollingElement.scrollWidth - document.documentElement.clientWidth;
  report.width = innerWidth;
  report.images = [...document.images].every((image) => image.complete && image.naturalWidth > 0);
  report.dark = matchMedia("(prefers-color-scheme: dark)").matches;
  report.paper = getComputedStyle(document.body).backgroundColor;
  (parent === window ? window : parent).postMessage(JSON.stringify(report), "*");
}, 50));
