import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

/** Type of a service in Keystone's catalog. */
export type Service = 'identity' | 'image' | 'compute' | 'network' | 'volumev3' | 'placement';

export interface Login {
  /** `http://HOST:PORT/v3` */
  readonly authUrl: string;
  readonly user: string;
  readonly password: string;
  readonly project: string;
}

const tokenSchema = z.looseObject({
  token: z.looseObject({
    project: z.looseObject({ id: z.string() }),
    catalog: z.array(
      z.looseObject({
        type: z.string(),
        endpoints: z.array(z.looseObject({ interface: z.string(), url: z.string() })),
      }),
    ),
  }),
});

/** OpenStack's own HTTP API as one user sees it, apart from what Pulumi's plugin does with it. */
export class OpenstackApi {
  private constructor(
    private readonly token: string,
    readonly projectId: string,
    private readonly urls: ReadonlyMap<string, string>,
  ) {}

  static async login(l: Login): Promise<OpenstackApi> {
    const domain = { id: 'default' };
    const auth = {
      identity: { methods: ['password'], password: { user: { name: l.user, domain, password: l.password } } },
      scope: { project: { name: l.project, domain } },
    };
    const response = await fetch(`${l.authUrl}/auth/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ auth }),
    });
    if (!response.ok)
      throw new Error(`Keystone refuses ${l.user}: ${String(response.status)} ${await response.text()}`);
    const { token } = tokenSchema.parse(await response.json());
    const urls = token.catalog.map(({ type, endpoints }): [string, string] => [
      type,
      endpoints.find((e) => e.interface === 'public')?.url ?? '',
    ]);
    return new OpenstackApi(response.headers.get('x-subject-token') ?? '', token.project.id, new Map(urls));
  }

  /** One request; a body that is not a Blob goes as JSON. @throws with method, path and answer unless it is 2xx */
  async ask(method: string, service: Service, path: string, body?: unknown): Promise<unknown> {
    const url = `${this.urls.get(service) ?? ''}${path}`;
    const response = await fetch(url, {
      method,
      headers: {
        'x-auth-token': this.token,
        'content-type': body instanceof Blob ? 'application/octet-stream' : 'application/json',
        // of Nova, the one with tags
        ...(service === 'compute' ? { 'openstack-api-version': 'compute 2.90' } : {}),
      },
      ...(body === undefined ? {} : { body: body instanceof Blob ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${url}: ${String(response.status)} ${text.slice(0, 500)}`);
    return text === '' ? {} : JSON.parse(text);
  }

  /** A list of things, each with the fields of `shape`. */
  async list<T extends z.ZodRawShape>(service: Service, path: string, key: string, shape: T) {
    const rows = z.looseObject({ [key]: z.array(z.looseObject(shape)) });
    return z.array(z.looseObject(shape)).parse(rows.parse(await this.ask('GET', service, path))[key]);
  }

  /** Creates one thing; answers its id. */
  async create(service: Service, path: string, key: string, body: Record<string, unknown>): Promise<string> {
    const made = await this.ask('POST', service, path, { [key]: body });
    const { id } = z.looseObject({ id: z.string() }).parse(z.looseObject({ [key]: z.unknown() }).parse(made)[key]);
    return id;
  }

  /** Deletes a thing, and waits until it is gone. */
  async remove(service: Service, path: string, ms: number): Promise<void> {
    await this.ask('DELETE', service, path);
    const deadline = Date.now() + ms;
    for (;;) {
      const gone = await this.ask('GET', service, path).then(
        () => false,
        (e: unknown) => / 404 /.test(String(e)),
      );
      if (gone) return;
      if (Date.now() > deadline) throw new Error(`not gone within ${String(ms)} ms: ${path}`);
      await delay(1000);
    }
  }
}
