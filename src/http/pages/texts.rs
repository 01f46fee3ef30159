//! What `/s` says, in the languages of `<scan-login>`. `{app}` is the app's name, or "the app".

/// One language.
pub(super) struct Texts {
    /// As in `lang` and `Accept-Language`.
    pub(super) language: &'static str,
    /// What the app is called that has no name here.
    pub(super) app: &'static str,
    pub(super) title: &'static str,
    pub(super) happened: &'static str,
    /// Where there are links to it.
    pub(super) install: &'static str,
    /// Where there are none.
    pub(super) ask: &'static str,
    pub(super) warning: &'static str,
}

/// The first one is for whoever reads none of them.
pub(super) static TEXTS: [Texts; 5] = [
    Texts {
        language: "en",
        app: "the app",
        title: "This code is for {app}",
        happened: "You opened a login code, and this phone showed it in its browser instead of in {app}. \
                   Nobody has been logged in.",
        install: "Install {app}, log in to it, and scan the code on the computer again.",
        ask: "Open {app} and scan the code on the computer from there. If you do not have it yet, the page \
              that shows the code says where to get it.",
        warning: "Did somebody send you this code? Then close this page: they would be logged in as you.",
    },
    Texts {
        language: "zh",
        app: "应用",
        title: "此二维码需用{app}打开",
        happened: "您打开了一个登录码，但这部手机用浏览器显示了它，而没有用{app}打开。没有任何人因此登录。",
        install: "请安装{app}并登录，然后重新扫描电脑上的二维码。",
        ask: "请打开{app}，在其中扫描电脑上的二维码。如果尚未安装，显示二维码的网页会告诉您从哪里获取。",
        warning: "这个码是别人发给您的吗？请关闭此页面：否则对方会以您的身份登录。",
    },
    Texts {
        language: "de",
        app: "die App",
        title: "Dieser Code ist für {app}",
        happened: "Sie haben einen Anmelde-Code geöffnet, und dieses Telefon hat ihn im Browser gezeigt statt in \
                   der App, für die er gedacht ist. Niemand wurde angemeldet.",
        install: "Installieren Sie {app}, melden Sie sich darin an, und scannen Sie den Code am Computer noch einmal.",
        ask: "Öffnen Sie {app} und scannen Sie den Code am Computer von dort aus. Wo es sie gibt, sagt die Seite, \
              die den Code zeigt.",
        warning: "Hat Ihnen jemand diesen Code geschickt? Dann schließen Sie diese Seite: Er wäre als Sie angemeldet.",
    },
    Texts {
        language: "es",
        app: "la aplicación",
        title: "Este código es para {app}",
        happened: "Ha abierto un código de inicio de sesión y este teléfono lo ha mostrado en su navegador en lugar \
                   de en {app}. Nadie ha iniciado sesión.",
        install: "Instale {app}, inicie sesión en ella y vuelva a escanear el código del ordenador.",
        ask: "Abra {app} y escanee desde ahí el código del ordenador. Si aún no la tiene, la página que muestra el \
              código indica dónde obtenerla.",
        warning: "¿Alguien le ha enviado este código? Entonces cierre esta página: iniciaría sesión como si fuera usted.",
    },
    Texts {
        language: "ja",
        app: "アプリ",
        title: "このコードは{app}用です",
        happened: "ログイン用のコードが開かれましたが、{app}ではなくブラウザーに表示されました。まだ誰もログインしていません。",
        install: "{app}をインストールしてログインし、パソコンに表示されたコードをもう一度読み取ってください。",
        ask: "{app}を開き、そこからパソコンのコードを読み取ってください。お持ちでない場合は、コードを表示しているページで入手先をご確認ください。",
        warning: "このコードは誰かから送られてきたものですか？その場合はこのページを閉じてください。送った人があなたとしてログインしてしまいます。",
    },
];
