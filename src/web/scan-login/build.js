// Makes dist/ from src/. The result is committed, so that `cargo build` needs nothing but Rust;
// test/build.test.js proves that it is what this makes.
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import * as esbuild from 'esbuild';

const here = fileURLToPath(new URL('.', import.meta.url));
const { version, license } = JSON.parse(await readFile(`${here}package.json`, 'utf8'));

// esbuild minifies what it knows to be CSS, and a text it leaves alone.
const css = {
  name: 'css as text',
  setup(build) {
    build.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await esbuild.transform(await readFile(path, 'utf8'), { loader: 'css', minify: true });
      return { contents: `export default ${JSON.stringify(code.trim())}` };
    });
  },
};

/** The files of dist/, by name, as text. */
export async function build() {
  const { outputFiles } = await esbuild.build({
    absWorkingDir: here,
    entryPoints: ['src/index.js'],
    outfile: 'dist/scanlogin.js',
    bundle: true,
    minify: true,
    format: 'esm',
    // Private fields and `??=`: every browser since 2021.
    target: 'es2022',
    charset: 'utf8',
    sourcemap: 'linked',
    banner: { js: `/*! scanlogin-element ${version}, ${license} */` },
    plugins: [css],
    write: false,
  });
  return Object.fromEntries(outputFiles.map(({ path, text }) => [path.slice(path.lastIndexOf('/') + 1), text]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [name, text] of Object.entries(await build())) await writeFile(`${here}dist/${name}`, text);
}
