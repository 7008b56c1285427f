(parts) => {
  // What the page does by itself from its start on; parts: the ids of its components of every kind.
  const body = document.body, all = (selector) => document.querySelectorAll(selector);

  // Gradio gives its empty galleries a name without a role, its examples, menus and groups of choices no name, and does
  // not say aloud what changes. Screen readers need all of it.
  const name = () => {
    all("div.empty[aria-label]:not([role])").forEach((e) => e.setAttribute("role", "img"));
    all("#examples button:not([aria-label])").forEach((e) => e.setAttribute("aria-label", "Use the example photo"));
    all('#motion_file button[aria-label^="Click"]').forEach((e) => e.setAttribute("aria-label", "Upload your own motion"));
    all("[role=listbox]:not([aria-label])").forEach((e) => e.setAttribute("aria-label", "Choices"));
    all("fieldset:not([aria-label]) > [data-testid=block-info]").forEach(
      (e) => e.parentElement.setAttribute("aria-label", e.textContent.trim()));
    all("#advice, #deleted, #report [data-testid=markdown]").forEach((e) => e.setAttribute("aria-live", "polite"));
  };

  // Gradio fetches every kind of component on its own, so that the page would be seen jumping while they come: it is
  // shown when all are there, or after 8 seconds.
  const show = () => {
    let quiet = null;
    const ready = () => { growing.disconnect(); body.classList.add("page-ready"); };
    const grown = () => {
      clearTimeout(quiet);
      if (parts.every((id) => document.getElementById(id))) quiet = setTimeout(ready, 120);
    };
    const growing = new MutationObserver(grown);
    growing.observe(body, { childList: true, subtree: true });
    grown();
    setTimeout(ready, 8000);
  };

  // Say when the work comes to another stage, every 15 seconds how long it will still take, and that a video is there.
  const announce = () => {
    const said = Object.assign(document.createElement("div"), { id: "said" });
    said.setAttribute("role", "status");
    body.append(said);
    let stage = "", since = 0, video = null;
    const say = (words) => { said.textContent = words; since = Date.now(); };
    setInterval(() => {
      const bar = document.querySelector("[role=progressbar][aria-label]")?.getAttribute("aria-label");
      const queue = document.querySelector(".wrap:not(.hide) > .progress-text")?.innerText.match(/queue: (\d+)\/(\d+)/);
      const now = bar ?? (queue ? `waiting, place ${queue[1]} of ${queue[2]}` : "");
      const kind = now.replace(/, about.*/, "");
      if (now && (kind !== stage || Date.now() - since > 15000)) say(now);
      stage = kind;
      const shown = document.querySelector("#video video")?.currentSrc ?? null;
      if (shown && shown !== video) say("The video is ready.");
      video = shown;
    }, 500);
  };

  new MutationObserver(name).observe(body, { childList: true, subtree: true });
  name();
  show();
  announce();
}
