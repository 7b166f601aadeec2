"use strict";
// Players move the line over what is drawn of them, one sounds at a time, and keys do what buttons do.
(() => {
  const stageOf = audio => audio.closest(".stage") || (audio.closest("#clip") ? document.getElementById("when") : null);

  function follow(audio) {
    stageOf(audio)?.style.setProperty("--at", `${100 * audio.currentTime / (audio.duration || 1)}%`);
    if (!audio.paused) requestAnimationFrame(() => follow(audio));
  }
  document.addEventListener("play", event => {
    for (const other of document.querySelectorAll("audio")) if (other !== event.target) other.pause();
    follow(event.target);
  }, true);
  for (const name of ["pause", "seeked", "timeupdate"]) {
    document.addEventListener(name, event => event.target.tagName === "AUDIO" && follow(event.target), true);
  }

  // A click on a picture jumps to that moment.
  document.addEventListener("click", event => {
    const strip = event.target.closest(".strip"), stage = strip?.closest(".stage");
    if (!strip) return;
    const audio = stage?.querySelector("audio") || document.querySelector("#clip audio");
    if (!audio?.duration) return;
    const box = strip.getBoundingClientRect();
    audio.currentTime = audio.duration * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    audio.play().catch(() => {});
  });

  const isTyped = target => target.matches("input:not([type=range], [type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  const visible = element => element && element.offsetParent !== null;
  document.addEventListener("keydown", event => {
    const card = document.querySelector("#pair .pair");
    if (!visible(card) || isTyped(event.target) || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.key === " ") {
      const audio = card.querySelector("audio");
      // Space on a control of its own does what it does everywhere.
      if (!audio || event.target.closest("button:not(#pair button, [role=tab]), [role=checkbox], input, summary, audio")) return;
      event.preventDefault();
      if (audio.paused) audio.play().catch(() => {}); else audio.pause();
      return;
    }
    const key = {arrowleft: "←", arrowright: "→"}[event.key.toLowerCase()] || event.key.toUpperCase();
    if (event.target.matches("[type=range]") && "←→".includes(key)) return;
    const button = card.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!button) return;
    event.preventDefault();
    button.click();
  }, true);
  document.addEventListener("keyup", event => {  // else a focused button of the card is pressed too
    if (event.key === " " && event.target.closest?.("#pair button, [role=tab]") && visible(document.querySelector("#pair .pair"))) event.preventDefault();
  }, true);

  // gradio tells of a refused microphone nowhere on the page.
  const media = navigator.mediaDevices, ask = media?.getUserMedia?.bind(media);
  if (ask) media.getUserMedia = async wanted => {
    const place = document.getElementById("microphone");
    try {
      const stream = await ask(wanted);
      if (place) place.hidden = true;
      return stream;
    } catch (error) {
      const words = error.name === "NotFoundError" ? "This machine has no microphone: upload a recording instead."
        : "The browser may not use the microphone: allow it in the address bar, or upload a recording instead.";
      if (place) { place.textContent = words; place.hidden = false; }
      throw error;
    }
  };
})();
