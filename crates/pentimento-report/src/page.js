// Adds arrow keys, filters and a mark on the current sample. The page is complete without it.
(() => {
  "use strict";
  const cells = [...document.querySelectorAll(".cell")];
  const samples = [...document.querySelectorAll(".sample")];
  const linkTo = new Map(cells.map((cell) => [cell.querySelector("a")?.hash.slice(1), cell]));
  let current = samples[0];

  // Takes the sample in the address as the current one. It stays current when the address leads elsewhere.
  const follow = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target?.classList.contains("sample")) current = target;
    for (const sample of samples) sample.toggleAttribute("data-current", sample === current);
    for (const cell of cells) cell.querySelector("a")?.removeAttribute("aria-current");
    if (current) linkTo.get(current.id)?.querySelector("a").setAttribute("aria-current", "true");
  };
  addEventListener("hashchange", follow);
  follow();

  // Goes to the next sample that the filters let through. Replaces the address, so that Back leaves the series at once.
  const step = (by) => {
    let index = samples.indexOf(current) + by;
    while (samples[index] && linkTo.get(samples[index].id)?.hidden) index += by;
    if (samples[index]) location.replace(`#${samples[index].id}`);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-step]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    step(Number(link.dataset.step));
  });

  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    if (event.target.closest?.("select, .scroll, pre")) return;
    const box = current?.getBoundingClientRect();
    if (!box || box.bottom < 0 || box.top > innerHeight) return;
    event.preventDefault();
    step(event.key === "ArrowLeft" ? -1 : 1);
  });

  const form = document.querySelector(".filters");
  const count = document.getElementById("filter-count");
  const choices = [...document.querySelectorAll("[data-filter]")];
  if (form && choices.length) {
    form.hidden = false;
    const apply = () => {
      const wanted = choices.filter((choice) => choice.value !== "");
      for (const cell of cells) {
        cell.hidden = wanted.some((choice) => cell.dataset[choice.dataset.filter] !== choice.value);
      }
      const shown = cells.filter((cell) => !cell.hidden).length;
      count.textContent = wanted.length ? `${shown} of ${cells.length}` : "";
      const more = document.querySelector("details.more");
      if (more && wanted.length) more.open = true;
    };
    form.addEventListener("change", apply);
    apply();
  }
  document.documentElement.dataset.script = "ready";
})();
