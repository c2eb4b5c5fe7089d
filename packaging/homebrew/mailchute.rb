# Homebrew's formula, for a tap. Not run: there is no Mac and no Homebrew where it was written, only ruby -c. The release script
# puts url and sha256 in when it is told where the archives will be (MAILCHUTE_RELEASES). Without them it builds from a clone:
# HOMEBREW_MAILCHUTE_CLONE=file:///where/it/is brew install --HEAD mailchute (Homebrew hides variables of other names).
class Mailchute < Formula
  desc "Drop a file into a folder, and the people in it are on your Constant Contact lists"
  license any_of: ["MIT", "Apache-2.0"]
  head do
    url ENV.fetch("HOMEBREW_MAILCHUTE_CLONE", "file:///set/HOMEBREW_MAILCHUTE_CLONE"), using: :git, branch: "main"
  end

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    system "cargo", "run", "--locked", "--example", "pages", "--", "pages"
    man1.install Dir["pages/man/*.1"]
    man5.install Dir["pages/man/*.5"]
    man7.install Dir["pages/man/*.7"]
    %w[mailchute mailchute-auth].each do |program|
      bash_completion.install "pages/completions/#{program}.bash" => program
      zsh_completion.install "pages/completions/_#{program}"
      fish_completion.install "pages/completions/#{program}.fish"
    end
    (etc/"mailchute").mkpath
  end

  # As the person who runs `brew services start mailchute`, with that person's configuration.
  service do
    run [opt_bin/"mailchute", "run"]
    keep_alive crashed: true
    error_log_path var/"log/mailchute.log"
    process_type :background
  end

  test do
    assert_match "mailchute #{version}", shell_output("#{bin}/mailchute --version") if build.stable?
    system bin/"mailchute", "demo", "--rows", "5"
  end
end
