// A backend's answer to one call: its status and headers, its body still paused, and the slot it holds. Disposing of it
// gives the slot back and, unless the answer is complete, destroys the backend's socket so that the engine stops.
import type { Backend } from './backend.ts';
import type { News, Slot } from './fleet.ts';
import type { Body, HttpAnswer } from './http.ts';

/** After `[DONE]` the backend has this long to end its response, or loses the connection. */
const GOODBYE_MS = 1_000;

interface Hears {
  tell(backend: Backend, news: News): void;
}

export class Answer implements Disposable {
  readonly backend: Backend;
  /** The model's name there. */
  readonly name: string;
  readonly content_type: string;
  readonly http: HttpAnswer;
  readonly #slot: Slot;
  readonly #fleet: Hears;
  #complete = false;

  /** `fleet` hears whether the backend kept its word. */
  constructor(slot: Slot, http: HttpAnswer, fleet: Hears) {
    this.backend = slot.backend;
    this.name = slot.name;
    this.http = http;
    this.#slot = slot;
    this.#fleet = fleet;
    this.content_type = http.headers.get('content-type')?.toLowerCase() ?? '';
  }

  get body(): Body {
    return this.http.body;
  }

  /** All that matters has been read: what may still come is only the end. */
  completed(): void {
    this.#complete = true;
    if (this.backend.info(this.name)?.resident === false) this.backend.loads.seen(this.name);
    this.#fleet.tell(this.backend, 'succeeded');
  }

  /** The backend broke off, or made no sense. */
  broke(): void {
    this.#fleet.tell(this.backend, 'answer');
  }

  [Symbol.dispose](): void {
    this.#slot.release();
    if (this.body.ended) return;
    if (this.#complete) setTimeout(() => this.body.destroy(), GOODBYE_MS).unref();
    else this.body.destroy();
  }
}
