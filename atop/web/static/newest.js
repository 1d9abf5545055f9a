// The page stays on its snapshot; when others have written since, it offers the newest state.

const PAUSE = 2000;

export function watchNewest(place, offer) {
  const mine = Number(place.dataset.commit);
  let timer = 0;

  async function look() {
    clearTimeout(timer);
    if (document.hidden || !offer.hidden) return;
    try {
      const answer = await fetch(`${place.dataset.root}/commit.json`);
      if (answer.ok && (await answer.json()).commit !== mine) offer.hidden = false;
    } catch {
      // The next look may find the server again.
    }
    timer = setTimeout(look, PAUSE);
  }

  document.addEventListener("visibilitychange", look);
  timer = setTimeout(look, PAUSE);
}
