// Rows of a table, got in blocks: those that were seen last are kept, the next ones are foreseen.

const SIZE = 100;
const KEPT = 120;
const AT_ONCE = 2;

export class Blocks {
  constructor(url, total) {
    this.url = url;
    this.total = total;
    this.kept = new Map();
    this.waiting = [];
    this.running = new Map();
    this.last = 0;
  }

  // The rows from `first` up to, not with, `end`; those that are not there yet are undefined.
  known(first, end) {
    const rows = [];
    for (let at = first; at < end; at++) {
      rows.push(this.kept.get(Math.floor(at / SIZE))?.[at % SIZE]);
    }
    return rows;
  }

  // Resolves when all of these rows are there; rejects when that cannot be.
  async need(first, end) {
    const blocks = this.numbers(first, end);
    const near = Math.abs(first - this.last) < SIZE;
    const ahead = first >= this.last ? Math.floor(end / SIZE) + 1 : Math.floor(first / SIZE) - 1;
    this.last = first;
    this.forget(new Set([...blocks, ahead]));
    const needed = blocks.filter((number) => !this.kept.has(number)).map((n) => this.get(n));
    if (near && ahead >= 0 && ahead * SIZE < this.total && !this.kept.has(ahead)) {
      this.get(ahead).catch(() => {});
    }
    await Promise.all(needed);
  }

  numbers(first, end) {
    const numbers = [];
    for (let n = Math.floor(first / SIZE); n * SIZE < Math.min(end, this.total); n++) {
      numbers.push(n);
    }
    return numbers;
  }

  // Requests for blocks that nobody wants any more make room for those that somebody does.
  forget(wanted) {
    for (const [number, running] of this.running) {
      if (!wanted.has(number)) running.abort.abort();
    }
  }

  get(number) {
    const running = this.running.get(number);
    if (running && !running.abort.signal.aborted) return running.promise;
    const abort = new AbortController();
    const promise = this.turn(abort.signal).then(() => this.fetch(number, abort.signal));
    this.running.set(number, { abort, promise });
    const done = () => {
      if (this.running.get(number)?.abort === abort) this.running.delete(number);
      this.waiting.shift()?.();
    };
    promise.then(done, done);
    return promise;
  }

  async turn(signal) {
    if (this.running.size >= AT_ONCE) {
      await new Promise((resolve) => this.waiting.push(resolve));
    }
    signal.throwIfAborted();
  }

  async fetch(number, signal) {
    const url = new URL(this.url, location.href);
    url.searchParams.set("row", number * SIZE + 1);
    url.searchParams.set("limit", SIZE);
    url.searchParams.set("brief", "1");
    const answer = await fetch(url, { signal });
    const told = await answer.json();
    if (!answer.ok) {
      throw Object.assign(new Error(`${told.error}. ${told.next}`), { status: answer.status });
    }
    this.total = told.total;
    this.kept.delete(number);
    this.kept.set(number, told.rows);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
  }
}
