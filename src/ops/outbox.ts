// What one turn of the event loop has to send, sent together at its end. Who receives on this machine (nginx in front, an
// engine beside us) is woken by the first write and finds the others there; written one by one between the work on other
// requests, each write would wake it anew, which costs more than most of that work (measured: bench/RESULTS.md).

export interface Sender {
  /** Writes what it has. Never throws. */
  send(): void;
}

export class Outbox {
  #senders: Sender[] = [];

  /** Its `send` is called in this turn, after all that was read has been dealt with. */
  add(sender: Sender): void {
    if (this.#senders.length === 0) setImmediate(() => this.#sendAll());
    this.#senders.push(sender);
  }

  #sendAll(): void {
    const senders = this.#senders;
    this.#senders = [];
    for (const sender of senders) sender.send();
  }
}
