"use strict";
// Questions that depend on another are hidden while they do not count, and what is wrong is said
// while one types. Without this file all questions are shown, and the server says what is wrong.
(() => {
  document.getElementById("problem")?.focus();
  const form = document.querySelector("form[data-check]");
  if (!form) return;
  const value = name => new FormData(form).get(name) || "";
  const conditional = [...form.querySelectorAll("[data-when]")];
  const show = () => conditional.forEach(one => {
    const answered = one.dataset.when.split(" ").map(value).find(Boolean) || "";
    one.hidden = !one.dataset.values.split(" ").includes(answered);
  });
  const touched = new Set();
  let asked = 0;
  const check = async () => {
    const mine = ++asked;
    const typed = new FormData(form);
    [...typed].forEach(([name, one]) => { if (one instanceof File) typed.delete(name); });
    let wrong;
    try {
      const answer = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(typed) });
      if (!answer.ok || mine !== asked) return;
      wrong = await answer.json();
    } catch { return; }
    if (mine !== asked) return;
    for (const box of form.querySelectorAll("[data-field]")) {
      if (touched.has(box.dataset.field)) say(box, wrong[box.dataset.field]);
    }
  };
  const say = (box, words) => {
    const id = "error-" + box.dataset.field.replace(".", "-");
    let line = document.getElementById(id);
    if (!line) {
      line = Object.assign(document.createElement("p"), { id, className: "error" });
      line.setAttribute("role", "status");
      box.append(line);
    }
    if (line.textContent !== (words || "")) line.textContent = words || "";
    box.classList.toggle("wrong", Boolean(words));
    for (const input of box.querySelectorAll("input, select, textarea")) {
      input.toggleAttribute("aria-invalid", false);
      if (words) input.setAttribute("aria-invalid", "true");
      const ids = new Set((input.getAttribute("aria-describedby") || "").split(" ").filter(Boolean));
      words ? ids.add(id) : ids.delete(id);
      ids.size ? input.setAttribute("aria-describedby", [...ids].join(" ")) : input.removeAttribute("aria-describedby");
    }
  };
  form.addEventListener("change", event => {
    show();
    const box = event.target.closest("[data-field]");
    if (box) { touched.add(box.dataset.field); check(); }
  });
  show();
})();
