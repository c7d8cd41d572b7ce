"use strict";
// What a reader would see go wrong in the layout of the open page, in words: text that another thing covers,
// text that is cut off, text that leaves its box, a page that is wider than its window.  Evaluates to a
// function of the largest number of pixels that is let pass (rounding of glyph boxes).
(slack) => {
  const faults = [];
  // What the browser leaves undone until it is scrolled to has no boxes yet.
  for (const element of document.querySelectorAll("*"))
    if (getComputedStyle(element).contentVisibility === "auto") element.style.contentVisibility = "visible";
  const root = document.scrollingElement;
  const width = root.clientWidth;
  const brief = (text) => JSON.stringify(text.trim().replace(/\s+/g, " ").slice(0, 60));
  const name = (element) => {
    const id = element.id ? `#${element.id}` : "";
    const kind = typeof element.className === "string" && element.className ? `.${element.className.split(/\s+/)[0]}` : "";
    return `<${element.localName}${id || kind}>`;
  };
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const styles = new WeakMap();
  const style = (element) => {
    if (!styles.has(element)) styles.set(element, getComputedStyle(element));
    return styles.get(element);
  };

  // The part of the page in which an element's content can be seen: the boxes of all that scrolls or cuts.
  const windows = new WeakMap();
  const everywhere = { left: -Infinity, top: -Infinity, right: Infinity, bottom: Infinity };
  const cross = (a, b) => ({
    left: Math.max(a.left, b.left), top: Math.max(a.top, b.top),
    right: Math.min(a.right, b.right), bottom: Math.min(a.bottom, b.bottom),
  });
  const inside = (element) => {
    if (!element || element === document.body || element === document.documentElement) return everywhere;
    if (!windows.has(element)) {
      let box = inside(element.parentElement);
      const cuts = style(element).overflowX !== "visible" || style(element).overflowY !== "visible";
      if (cuts && style(element).display !== "inline") box = cross(box, element.getBoundingClientRect());
      windows.set(element, box);
    }
    return windows.get(element);
  };
  const scrolls = (element) => {
    for (let at = element; at && at !== document.body; at = at.parentElement)
      if (["auto", "scroll"].includes(style(at).overflowX)) return true;
    return false;
  };
  const pinned = (element) => {
    for (let at = element; at && at !== document.body; at = at.parentElement)
      if (style(at).position === "sticky") return true;
    return false;
  };
  // A thing of a pixel is text for screen readers; one wholly left of the page waits for the keyboard's focus.
  const unseen = (box) => box.right - box.left <= 1 || box.bottom - box.top <= 1 || box.right <= 0 || box.bottom <= 0;
  const block = (element) => {
    let at = element;
    while (at && ["inline", "contents"].includes(style(at).display)) at = at.parentElement;
    return at;
  };

  if (root.scrollWidth > width + 1) faults.push(`wide: the page has ${root.scrollWidth} px in a window of ${width}`);

  const items = [];
  const add = (owner, text, box, trim) => {
    const part = cross(box, inside(owner.parentElement));
    const high = (part.bottom - part.top) * trim;
    const item = { ...part, top: part.top + high, bottom: part.bottom - high, owner, text };
    if (item.right - item.left > slack && item.bottom - item.top > slack) items.push(item);
  };

  // A tilted text's own box is mostly empty: the boxes of its letters are not.
  const tilted = (owner) => owner.getScreenCTM && Math.abs(owner.getScreenCTM().b) > 0.01;
  const letters = (node) => {
    const part = document.createRange();
    return Array.from(node.data, (_, at) => at).flatMap((at) => {
      part.setStart(node, at);
      part.setEnd(node, at + 1);
      return [...part.getClientRects()];
    });
  };

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const owner = node.parentElement;
    if (!node.data.trim() || ["SCRIPT", "STYLE", "NOSCRIPT", "TITLE"].includes(owner.tagName) || !seen(owner)) continue;
    range.selectNodeContents(node);
    const drawing = owner.closest("svg");
    const holder = drawing || block(owner);
    const frame = holder.getBoundingClientRect();
    const holds = drawing || !["auto", "scroll"].includes(style(holder).overflowX);
    for (const rect of tilted(owner) ? letters(node) : range.getClientRects()) {
      if (unseen(rect) || unseen(frame)) continue;
      // Glyph boxes are taller than lines of text: 0.18 off at both ends leaves what ink can reach.
      add(node, node.data, rect, 0.18);
      const over = Math.max(rect.right - frame.right, frame.left - rect.left);
      if (over > slack && holds) faults.push(`spills: ${brief(node.data)} leaves ${name(holder)} by ${Math.round(over)} px`);
      if (drawing && Math.max(rect.bottom - frame.bottom, frame.top - rect.top) > slack)
        faults.push(`spills: ${brief(node.data)} leaves ${name(drawing)} above or below`);
      if ((rect.right > width + slack || rect.left < -slack) && !scrolls(owner))
        faults.push(`outside: ${brief(node.data)} reaches from ${Math.round(rect.left)} to ${Math.round(rect.right)} of ${width} px`);
    }
  }

  for (const element of document.body.querySelectorAll("*")) {
    if (element.closest("svg") && element.localName !== "svg") continue;
    if (!seen(element)) continue;
    const rect = element.getBoundingClientRect();
    if (unseen(rect)) continue;
    if (["img", "canvas", "video", "input", "select", "textarea"].includes(element.localName)) {
      add(element, element.getAttribute("alt") || name(element), rect, 0);
      if (rect.right > width + slack && !scrolls(element)) faults.push(`outside: ${name(element)} reaches to ${Math.round(rect.right)} of ${width} px`);
    }
    // What is cut off may be had whole from the tip beside it.
    const tip = element.closest("[title]");
    if (tip && tip.title.includes(element.textContent.trim())) continue;
    const hides = (value) => ["hidden", "clip"].includes(value);
    if (hides(style(element).overflowX) && element.scrollWidth > element.clientWidth + slack)
      faults.push(`cut: ${name(element)} shows ${element.clientWidth} of ${element.scrollWidth} px across: ${brief(element.textContent)}`);
    if (hides(style(element).overflowY) && element.scrollHeight > element.clientHeight + slack)
      faults.push(`cut: ${name(element)} shows ${element.clientHeight} of ${element.scrollHeight} px down: ${brief(element.textContent)}`);
  }

  // Pairs that share an area, from top to bottom; what belongs to each other does not count.
  items.sort((a, b) => a.top - b.top);
  let active = [];
  for (const item of items) {
    active = active.filter((other) => other.bottom > item.top);
    for (const other of active) {
      const across = Math.min(item.right, other.right) - Math.max(item.left, other.left);
      const down = Math.min(item.bottom, other.bottom) - Math.max(item.top, other.top);
      if (across <= slack || down <= slack || item.owner === other.owner) continue;
      if (item.owner.contains(other.owner) || other.owner.contains(item.owner)) continue;
      if (pinned(item.owner.parentElement) || pinned(other.owner.parentElement)) continue;
      faults.push(`overlap: ${brief(item.text)} and ${brief(other.text)} share ${Math.round(across)} × ${Math.round(down)} px`);
    }
    active.push(item);
  }

  // Of what is in the window now, each text must be the topmost thing at its middle.
  for (const item of items) {
    const x = (item.left + item.right) / 2;
    const y = (item.top + item.bottom) / 2;
    if (x < 0 || y < 0 || x >= width || y >= root.clientHeight) continue;
    const owner = item.owner.nodeType === Node.TEXT_NODE ? item.owner.parentElement : item.owner;
    const top = document.elementFromPoint(x, y);
    if (top && !owner.contains(top) && !top.contains(owner) && !pinned(top) && style(owner).pointerEvents !== "none")
      faults.push(`covered: ${brief(item.text)} lies under ${name(top)}`);
  }
  return [...new Set(faults)];
}
