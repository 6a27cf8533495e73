// The official Go client against a live grid: tests/client/js_go.py deploys the apps that it calls.
package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	modal "github.com/modal-labs/modal-client/go"
)

var (
	ctx    = context.Background()
	client *modal.Client
)

func TestMain(m *testing.M) {
	var err error
	if client, err = modal.NewClient(); err != nil {
		panic(err)
	}
	code := m.Run()
	client.Close()
	os.Exit(code)
}

// must gives what a call gave, and ends the test where it failed: must(t)(call()).
func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// equal compares as text: CBOR's whole numbers and maps come back in types of their own.
func equal(t *testing.T, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %#v, not %#v", got, want)
	}
}

func isError[E error](t *testing.T, err error) {
	t.Helper()
	if want := *new(E); !errors.As(err, &want) {
		t.Fatalf("got %v, not a %T", err, want)
	}
}

func calls(t *testing.T, name string) *modal.Function {
	t.Helper()
	return must[*modal.Function](t)(client.Functions.FromName(ctx, "calls", name, nil))
}

func class(t *testing.T, name string) *modal.Cls {
	t.Helper()
	return must[*modal.Cls](t)(client.Cls.FromName(ctx, "classes", name, nil))
}

func remote(t *testing.T, function *modal.Function, args ...any) any {
	t.Helper()
	return must[any](t)(function.Remote(ctx, args, nil))
}

func method(t *testing.T, class *modal.Cls, parameters map[string]any, name string) *modal.Function {
	t.Helper()
	instance := must[*modal.ClsInstance](t)(class.Instance(ctx, parameters))
	return must[*modal.Function](t)(instance.Method(name))
}

// until asks until it is so, for a while at most: the grid is another process, whose events a test can only watch.
func until(t *testing.T, what func() bool, atMost time.Duration, why string) {
	t.Helper()
	for deadline := time.Now().Add(atMost); !what(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", atMost, why)
		}
	}
}

func TestRemoteWithPositionalAndNamedArguments(t *testing.T) {
	equal(t, remote(t, calls(t, "square"), 9), 81)
	sum := must[any](t)(calls(t, "add").Remote(ctx, nil, map[string]any{"x": 1, "y": 2}))
	equal(t, sum, 3)
}

func TestValuesTravelAsCbor(t *testing.T) {
	value := map[string]any{"text": "käse", "list": []any{1, 2.5, nil, true}, "big": 1 << 40}
	equal(t, remote(t, calls(t, "echo"), value), value)
	equal(t, remote(t, calls(t, "echo"), []byte{0, 1, 255}), []byte{0, 1, 255})
}

func TestWhatIsLargerThanTwoMebibytesTravelsAsABlob(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 3<<20+1)
	if got, _ := remote(t, calls(t, "echo"), data).([]byte); !bytes.Equal(got, data) {
		t.Fatalf("%d bytes came back", len(got))
	}
}

func TestAnExceptionComesBackWithItsText(t *testing.T) {
	_, err := calls(t, "odd_only").Remote(ctx, []any{4}, nil)
	isError[modal.RemoteError](t, err)
	if !strings.Contains(err.Error(), "even: 4") {
		t.Fatal(err)
	}
}

func TestANameThatIsNotThereIsANotFoundError(t *testing.T) {
	_, err := client.Functions.FromName(ctx, "calls", "nothing", nil)
	isError[modal.NotFoundError](t, err)
	_, err = client.Cls.FromName(ctx, "classes", "Nothing", nil)
	isError[modal.NotFoundError](t, err)
	_, err = client.Apps.FromName(ctx, "no-such-app", nil)
	isError[modal.NotFoundError](t, err)
}

func TestSpawnGetGetAgainAndByIdAlone(t *testing.T) {
	call := must[*modal.FunctionCall](t)(calls(t, "square").Spawn(ctx, []any{12}, nil))
	equal(t, must[any](t)(call.Get(ctx, nil)), 144)
	equal(t, must[any](t)(call.Get(ctx, nil)), 144)
	found := must[*modal.FunctionCall](t)(client.FunctionCalls.FromID(ctx, call.FunctionCallID, nil))
	equal(t, must[any](t)(found.Get(ctx, nil)), 144)
}

func TestGetGivesUpAfterItsTimeoutAndTheCallGoesOn(t *testing.T) {
	call := must[*modal.FunctionCall](t)(calls(t, "waits").Spawn(ctx, []any{1, "done"}, nil))
	atOnce := time.Duration(0)
	_, err := call.Get(ctx, &modal.FunctionCallGetParams{Timeout: &atOnce})
	isError[modal.TimeoutError](t, err)
	equal(t, must[any](t)(call.Get(ctx, nil)), "done")
}

func TestCancelEndsWhatRuns(t *testing.T) {
	sleeps := calls(t, "sleeps_for_ever")
	call := must[*modal.FunctionCall](t)(sleeps.Spawn(ctx, []any{"from Go"}, nil))
	ok(t, call.Cancel(ctx, nil))
	_, err := call.Get(ctx, nil)
	isError[modal.RemoteError](t, err)
	until(t, func() bool {
		return must[*modal.FunctionCurrentStats](t)(sleeps.GetCurrentStats(ctx, nil)).Backlog == 0
	}, 10*time.Second, "nothing of it waits")
}

func TestAFunctionsStatisticsAndItsAutoscaler(t *testing.T) {
	add := calls(t, "add")
	remote(t, add, 1, 1)
	stats := must[*modal.FunctionCurrentStats](t)(add.GetCurrentStats(ctx, nil))
	if stats.Backlog != 0 || stats.NumTotalRunners < 1 {
		t.Fatalf("%+v", stats)
	}
	none, most, window := uint32(0), uint32(3), 20*time.Second
	settings := must[*modal.FunctionAutoscalerSettings](t)(add.UpdateAutoscaler(ctx, &modal.FunctionUpdateAutoscalerParams{
		MinContainers: &none, MaxContainers: &most, ScaledownWindow: &window}))
	equal(t, []any{*settings.MaxContainers, *settings.ScaledownWindow}, []any{most, window})
}

func TestAFunctionByItsId(t *testing.T) {
	square := must[*modal.Function](t)(client.Functions.FromID(ctx, calls(t, "square").FunctionID))
	equal(t, remote(t, square, 3), 9)
}

func TestAWebFunctionHasItsAddressAndCannotBeCalled(t *testing.T) {
	web := must[*modal.Function](t)(client.Functions.FromName(ctx, "rolls", "answer", nil))
	if !strings.HasPrefix(web.GetWebURL(), "http") {
		t.Fatal(web.GetWebURL())
	}
	if _, err := web.Remote(ctx, []any{"x"}, nil); err == nil || !strings.Contains(err.Error(), "web") {
		t.Fatal(err)
	}
}

func TestClassesWithAndWithoutParameters(t *testing.T) {
	parameters := map[string]any{"start": 7, "name": "go"}
	equal(t, remote(t, method(t, class(t, "Counter"), parameters, "add"), 3), 10)
	story := remote(t, method(t, class(t, "Counter"), parameters, "story")).(map[any]any)
	equal(t, []any{story["name"], story["start"], story["steps"]}, []any{"go", 7, []any{"snap", "enter"}})
	call := must[*modal.FunctionCall](t)(method(t, class(t, "Counter"), nil, "add").Spawn(ctx, []any{1}, nil))
	equal(t, must[any](t)(call.Get(ctx, nil)), 1)
}

func TestOptionsOfAClassAndOfAFunction(t *testing.T) {
	one, minute := 1, time.Minute
	bound := class(t, "Slow").WithOptions(&modal.ClsWithOptionsParams{Env: map[string]string{"SAYS": "go"}, MaxContainers: &one})
	equal(t, remote(t, method(t, bound, nil, "environment"), "SAYS"), "go")
	options := calls(t, "square").WithOptions(&modal.FunctionWithOptionsParams{Timeout: &minute})
	equal(t, remote(t, must[*modal.Function](t)(options.Instance(ctx)), 5), 25)
}

func TestSecrets(t *testing.T) {
	secret := must[*modal.Secret](t)(
		client.Secrets.FromName(ctx, "of-clients", &modal.SecretFromNameParams{RequiredKeys: []string{"KEY"}}))
	_, err := client.Secrets.FromName(ctx, "of-clients", &modal.SecretFromNameParams{RequiredKeys: []string{"OTHER"}})
	if err == nil || !strings.Contains(err.Error(), "OTHER") {
		t.Fatal(err)
	}
	_, err = client.Secrets.FromName(ctx, "no-such-secret", nil)
	isError[modal.NotFoundError](t, err)
	made := must[*modal.Secret](t)(client.Secrets.FromMap(ctx, map[string]string{"MADE": "by go"}, nil))
	bound := class(t, "Slow").WithOptions(&modal.ClsWithOptionsParams{Secrets: []*modal.Secret{secret, made}})
	environment := method(t, bound, nil, "environment")
	equal(t, []any{remote(t, environment, "MADE"), remote(t, environment, "KEY")}, []any{"by go", "value"})
	ok(t, client.Secrets.Delete(ctx, "no-such-secret", &modal.SecretDeleteParams{AllowMissing: true}))
}

func TestQueues(t *testing.T) {
	queue := must[*modal.Queue](t)(client.Queues.Ephemeral(ctx, nil))
	defer queue.CloseEphemeral()
	ok(t, queue.Put(ctx, "one", nil))
	ok(t, queue.PutMany(ctx, []any{"two", 3}, nil))
	equal(t, must[int](t)(queue.Len(ctx, nil)), 3)
	equal(t, must[any](t)(queue.Get(ctx, nil)), "one")
	equal(t, must[[]any](t)(queue.GetMany(ctx, 5, nil)), []any{"two", 3})
	atOnce := time.Duration(0)
	_, err := queue.Get(ctx, &modal.QueueGetParams{Timeout: &atOnce})
	isError[modal.QueueEmptyError](t, err)
	ok(t, queue.Put(ctx, "elsewhere", &modal.QueuePutParams{Partition: "p", PartitionTTL: time.Minute}))
	equal(t, must[int](t)(queue.Len(ctx, nil)), 0)
	equal(t, must[int](t)(queue.Len(ctx, &modal.QueueLenParams{Total: true})), 1)
	for item, err := range queue.Iterate(ctx, &modal.QueueIterateParams{Partition: "p"}) {
		ok(t, err)
		equal(t, item, "elsewhere")
	}
	ok(t, queue.Clear(ctx, &modal.QueueClearParams{All: true}))
	equal(t, must[int](t)(queue.Len(ctx, &modal.QueueLenParams{Total: true})), 0)

	named := must[*modal.Queue](t)(client.Queues.FromName(ctx, "go-queue", &modal.QueueFromNameParams{CreateIfMissing: true}))
	ok(t, named.Put(ctx, "kept", nil))
	found := must[*modal.Queue](t)(client.Queues.FromName(ctx, "go-queue", nil))
	equal(t, must[any](t)(found.Get(ctx, nil)), "kept")
	ok(t, client.Queues.Delete(ctx, "go-queue", nil))
	_, err = client.Queues.FromName(ctx, "go-queue", nil)
	isError[modal.NotFoundError](t, err)
}

func TestEnvironmentsComeAndGoAndListTheirApps(t *testing.T) {
	ok(t, client.Environments.Objects.Create(ctx, "go-staging", nil))
	names := map[string]bool{}
	environments, err := client.Environments.Objects.List(ctx)
	ok(t, err)
	for environment, err := range environments {
		ok(t, err)
		names[environment.Name] = true
	}
	main := must[*modal.Environment](t)(client.Environments.FromName(ctx, "main", nil))
	apps, err := main.Apps.List(ctx)
	ok(t, err)
	for app, err := range apps {
		ok(t, err)
		names[app.Name] = true
	}
	for _, name := range []string{"go-staging", "main", "calls"} {
		if !names[name] {
			t.Fatalf("%s is not among %v", name, names)
		}
	}
	ok(t, client.Environments.Objects.Delete(ctx, "go-staging"))
	_, err = client.Environments.FromName(ctx, "go-staging", nil)
	isError[modal.NotFoundError](t, err)
}

func TestAnAppByItsName(t *testing.T) {
	app := must[*modal.App](t)(client.Apps.FromName(ctx, "calls", nil))
	info := must[*modal.AppInfo](t)(app.Info(ctx, nil))
	if info.Lifecycle.State != modal.AppStateDeployed || info.Functions["square"] == "" {
		t.Fatalf("%+v", info)
	}
}

func TestAnImageByItsId(t *testing.T) {
	id := remote(t, method(t, class(t, "Slow"), nil, "environment"), "MODAL_IMAGE_ID").(string)
	equal(t, must[*modal.Image](t)(client.Images.FromID(ctx, id, nil)).ImageID, id)
	_, err := client.Images.FromID(ctx, "im-0000000000000000000000", nil)
	isError[modal.NotFoundError](t, err)
}

func TestLogsOfACallAndOfAFunction(t *testing.T) {
	says := calls(t, "says")
	call := must[*modal.FunctionCall](t)(says.Spawn(ctx, []any{4712}, nil))
	must[any](t)(call.Get(ctx, nil))
	until(t, func() bool {
		entries, err := call.Logs.Tail(ctx, nil)
		ok(t, err)
		for entry, err := range entries {
			ok(t, err)
			if strings.Contains(entry.Message, "said 4712") {
				return true
			}
		}
		return false
	}, 20*time.Second, "the call's log has its line")
}

func TestAWrongSecretIsRefused(t *testing.T) {
	stranger := must[*modal.Client](t)(modal.NewClientWithOptions(
		&modal.ClientParams{TokenID: os.Getenv("MODAL_TOKEN_ID"), TokenSecret: "as-wrong"}))
	defer stranger.Close()
	if _, err := stranger.Functions.FromName(ctx, "calls", "square", nil); err == nil ||
		!strings.Contains(strings.ToLower(err.Error()), "token") {
		t.Fatal(err)
	}
}
