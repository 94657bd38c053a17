/** What the demo shows: a head line for each step, a bar for long ones; plain lines when there is no terminal. */
const PLAIN_EVERY_MS = 5000;
const WIDTH = 24;

export interface Bar {
  readonly done: number;
  /** Null = not known. */
  readonly total: number | null;
  readonly unit: string;
  /** @default '' more words at the end of the line */
  readonly note?: string;
}

export class Screen {
  private readonly live: boolean;
  private line = '';
  private traffic = '';
  private lastPlain = 0;
  private lastStatus = 0;
  private barBegan: { ms: number; done: number; last: number } | null = null;
  private shown = false;
  private startedMs = Date.now();
  private stepStartedMs = Date.now();

  constructor(private readonly out: NodeJS.WriteStream) {
    this.live = out.isTTY;
  }

  private clear(): void {
    if (this.shown) this.out.write('\r\u001b[2K');
    this.shown = false;
  }

  /** Begins a step. */
  step(title: string): void {
    this.clear();
    this.line = '';
    this.barBegan = null;
    this.stepStartedMs = Date.now();
    const at = Math.round((this.stepStartedMs - this.startedMs) / 1000);
    this.out.write(`\n[${String(at).padStart(4)} s] ${title}\n`);
  }

  /** A line that stays. */
  say(line: string): void {
    this.clear();
    this.out.write(`        ${line}\n`);
  }

  /** Replaces the line before on a terminal; elsewhere one line in five seconds. */
  passing(line: string): void {
    this.line = line;
    if (this.live) this.draw();
    else if (Date.now() - this.lastPlain > PLAIN_EVERY_MS) {
      this.lastPlain = Date.now();
      this.out.write(`        ${line}\n`);
    }
  }

  /** What the traffic looks like, shown beside the passing line; '' takes it away. */
  status(text: string): void {
    this.traffic = text;
    if (this.live) this.draw();
    else if (text !== '' && Date.now() - this.lastStatus > PLAIN_EVERY_MS) {
      this.lastStatus = Date.now();
      this.out.write(`        ${text}\n`);
    }
  }

  private draw(): void {
    const width = Math.max(20, this.out.columns - 1);
    const text = [this.line, this.traffic].filter((t) => t !== '').join('  |  ');
    this.clear();
    this.out.write(`        ${text}`.slice(0, width));
    this.shown = true;
  }

  /** A bar with rate and remaining time since the bar's begin: the first of a step, or one that starts over. */
  bar(b: Bar): void {
    if (this.barBegan === null || b.done < this.barBegan.last)
      this.barBegan = { ms: Date.now(), done: b.done, last: b.done };
    this.barBegan.last = b.done;
    const seconds = (Date.now() - this.barBegan.ms) / 1000;
    const rate = seconds > 0 ? (b.done - this.barBegan.done) / seconds : 0;
    const note = b.note === undefined ? '' : `  ${b.note}`;
    const speed = `${Math.round(rate).toLocaleString('en')} ${b.unit}/s`;
    if (b.total === null || b.total === 0)
      return this.passing(`${b.done.toLocaleString('en')} ${b.unit}  ${speed}${note}`);
    const share = Math.min(1, b.done / b.total);
    const full = Math.round(share * WIDTH);
    const left = rate > 0 ? `${Math.ceil((b.total - b.done) / rate)} s left` : '';
    this.passing(
      `[${'#'.repeat(full)}${'.'.repeat(WIDTH - full)}] ${Math.floor(share * 100)} %  ` +
        `${b.done.toLocaleString('en')} of ${b.total.toLocaleString('en')} ${b.unit}  ${speed}  ${left}${note}`,
    );
  }

  /** Why a step failed; every line stays. */
  fail(text: string): void {
    this.clear();
    for (const line of text.split('\n')) this.out.write(`        FAILED ${line}\n`);
  }

  /** Ends a step. */
  done(line = 'done'): void {
    this.clear();
    const seconds = ((Date.now() - this.stepStartedMs) / 1000).toFixed(1);
    this.out.write(`        ${line} (${seconds} s)\n`);
  }
}
