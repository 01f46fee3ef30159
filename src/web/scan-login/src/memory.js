// What survives a reload: one login of this tab.

const NAME = 'scanlogin.login';

export class Memory {
  #storage;
  #endpoint;

  constructor(storage, endpoint) {
    this.#storage = storage;
    this.#endpoint = endpoint;
  }

  keep(login) {
    this.#try((storage) => storage.setItem(NAME, JSON.stringify({ ...login, endpoint: this.#endpoint })));
  }

  forget() {
    this.#try((storage) => storage.removeItem(NAME));
  }

  /** `null` where there is none, or where it is another service's: its secret is not to be shown around. */
  recall() {
    const login = this.#try((storage) => JSON.parse(storage.getItem(NAME)));
    return login?.endpoint === this.#endpoint ? login : null;
  }

  // Where storage is full or forbidden, a login holds for as long as the page is open: less, but no failure.
  #try(action) {
    try {
      return action(this.#storage ?? sessionStorage) ?? null;
    } catch {
      return null;
    }
  }
}
