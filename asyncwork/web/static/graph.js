// The graph of a flow that is wider than its frame opens at what runs, at what has failed, or else in its middle. Without
// this, it opens at its left edge.

for (const graph of document.querySelectorAll(".graph")) {
  const box = graph.querySelector(".enqueued") ?? graph.querySelector(".failed") ?? graph.firstElementChild;
  const at = box.getBoundingClientRect();
  graph.scrollLeft = at.x + at.width / 2 - graph.getBoundingClientRect().x - graph.clientWidth / 2;
}
