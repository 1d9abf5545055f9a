// Jumping: to the first key that begins with what is typed, or to a row by its number.

const PAUSE = 200;

export function jumping(form, place, tell, goTo) {
  const field = form.elements.key;
  let running = null;
  let timer = 0;

  async function jump(text) {
    running?.abort();
    running = new AbortController();
    const url = new URL(place.dataset.url, location.href);
    url.pathname = url.pathname.replace(/\.json$/, "/position.json");
    url.searchParams.set("key", text);
    const answer = await fetch(url, { signal: running.signal });
    const told = await answer.json();
    if (!answer.ok) throw new Error(`${told.error}. ${told.next}`);
    await goTo(told.row - 1);
  }

  async function attempt(text) {
    clearTimeout(timer);
    if (!text) return false;
    try {
      tell("");
      await jump(text);
      return true;
    } catch (error) {
      if (error.name !== "AbortError") tell(error.message);
      return false;
    }
  }

  field.addEventListener("input", () => {
    clearTimeout(timer);
    const text = field.value.trim();
    if (text && text !== "#") timer = setTimeout(() => attempt(text), PAUSE);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await attempt(field.value.trim())) place.dispatchEvent(new CustomEvent("arrived"));
  });
}
