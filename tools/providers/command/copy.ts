/** Copies files and folders to another machine over sftp. */
import { readdirSync, statSync } from 'node:fs';
import { basename, join, posix } from 'node:path';
import { promisify } from 'node:util';
import type { SFTPWrapper, Stats } from 'ssh2';
import { connected } from './connection.js';
import type { CopyToRemote } from './inputs.js';

const NO_SUCH_FILE = 2;

function sftpCalls(sftp: SFTPWrapper) {
  const stat = promisify<string, Stats>(sftp.stat.bind(sftp));
  const mkdir = promisify<string>(sftp.mkdir.bind(sftp));
  return {
    /** Undefined for what is not there. */
    async stat(path: string): Promise<Stats | undefined> {
      try {
        return await stat(path);
      } catch (e) {
        if (e instanceof Error && 'code' in e && e.code === NO_SUCH_FILE) return undefined;
        throw new Error(`cannot look at ${path}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
      }
    },
    /** With its parents. @throws where a file has that name */
    async makeDir(path: string): Promise<void> {
      const there = await this.stat(path);
      if (there?.isDirectory()) return;
      if (there !== undefined) throw new Error(`${path} is a file on the remote machine, it must be a directory`);
      await this.makeDir(posix.dirname(path));
      await mkdir(path);
    },
    put: promisify<string, string>(sftp.fastPut.bind(sftp)),
    write: promisify<string, string>(sftp.writeFile.bind(sftp)),
  };
}
type Sftp = ReturnType<typeof sftpCalls>;

async function copyTree(sftp: Sftp, from: string, to: string): Promise<void> {
  if (!statSync(from).isDirectory()) {
    await sftp.put(from, to);
    return;
  }
  await sftp.makeDir(to);
  for (const name of readdirSync(from).sort()) await copyTree(sftp, join(from, name), posix.join(to, name));
}

/**
 * A folder goes into remotePath under its own name, or only its content does where the source ends with a slash. A file
 * goes into remotePath where that is a directory, else it becomes remotePath; so does a text, which has no name.
 */
export function copy(o: CopyToRemote): Promise<void> {
  const { connection, source, remotePath } = o;
  return connected(connection, async (client) => {
    const sftp = sftpCalls(await promisify(client.sftp.bind(client))());
    const isDir = (await sftp.stat(remotePath))?.isDirectory() ?? false;
    if (source.path === undefined) {
      if (isDir) throw new Error(`remotePath ${remotePath} is a directory: a StringAsset needs the path of a file`);
      await sftp.makeDir(posix.dirname(remotePath));
      await sftp.write(remotePath, source.text ?? '');
      return;
    }
    const fromDir = statSync(source.path).isDirectory();
    const into = fromDir ? !source.path.endsWith('/') : isDir;
    const to = into ? posix.join(remotePath, basename(source.path)) : remotePath;
    await sftp.makeDir(posix.dirname(to));
    await copyTree(sftp, source.path, to);
  });
}
