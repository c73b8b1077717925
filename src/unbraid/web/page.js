// The picture of a point on a map: under the pointer, or, with the arrow keys, of the next point.
(() => {
  function show(point) {
    const maps = point.closest(".maps"), hover = maps && maps.querySelector(".hover");
    if (!hover) return;
    maps.querySelectorAll(".point.here").forEach((other) => other.classList.remove("here"));
    point.classList.add("here");
    const data = maps.dataset, size = Number(data.size), tile = Number(point.dataset.tile), large = 2;
    const picture = hover.firstElementChild;
    picture.style.cssText = `width:${size * large}px;height:${size * large}px;background-image:url(${data.tiles});` +
      `background-size:${data.columns * size * large}px ${data.rows * size * large}px;background-position:` +
      `-${(tile % data.columns) * size * large}px -${Math.floor(tile / data.columns) * size * large}px`;
    hover.lastElementChild.textContent = point.dataset.words;
    const place = point.getBoundingClientRect(), frame = maps.getBoundingClientRect();
    hover.hidden = false;
    hover.style.left = `${Math.max(0, Math.min(place.left - frame.left + 12, frame.width - 140))}px`;
    hover.style.top = `${place.top - frame.top + 12}px`;
  }
  document.addEventListener("mouseover", (event) => {
    if (event.target.classList && event.target.classList.contains("point")) show(event.target);
  });
  document.addEventListener("mouseout", (event) => {
    if (!event.target.classList || !event.target.classList.contains("point")) return;
    const hover = event.target.closest(".maps")?.querySelector(".hover");
    if (hover) hover.hidden = true;
  });
  document.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const map = event.target.closest && event.target.closest(".map svg");
    if (!step || !map) return;
    event.preventDefault();
    const points = [...map.querySelectorAll(".point")];
    const now = points.findIndex((point) => point.classList.contains("here"));
    show(points[(now + step + points.length) % points.length]);
  });
})();
