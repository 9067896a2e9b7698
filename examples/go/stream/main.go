// A streamed chat: each piece is printed as it comes.   cd examples/go && LANYARD_KEY=sk-… go run ./stream "Say hello."
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/sashabaranov/go-openai"
)

func main() {
	log.SetFlags(0)
	question := "Say hello."
	if len(os.Args) > 1 {
		question = os.Args[1]
	}
	err := stream(context.Background(), question)
	fmt.Println()
	var refusal *openai.APIError
	if errors.As(err, &refusal) {
		log.Fatalf("Lanyard: %v: %s", refusal.Code, refusal.Message)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func stream(ctx context.Context, question string) error {
	config := openai.DefaultConfig(cmp.Or(os.Getenv("LANYARD_KEY"), os.Getenv("LITELLM_MASTER_KEY")))
	config.BaseURL = cmp.Or(os.Getenv("LANYARD_URL"), "http://localhost:4000") + "/v1"
	client := openai.NewClientWithConfig(config)

	model := os.Getenv("LANYARD_MODEL")
	if model == "" { // The first one this key may use.
		list, err := client.ListModels(ctx)
		if err != nil {
			return err
		}
		if len(list.Models) == 0 {
			return errors.New("this key may use no model")
		}
		model = list.Models[0].ID
	}
	answer, err := client.CreateChatCompletionStream(ctx, openai.ChatCompletionRequest{
		Model:    model,
		Messages: []openai.ChatCompletionMessage{{Role: openai.ChatMessageRoleUser, Content: question}},
	})
	if err != nil {
		return err
	}
	defer answer.Close()

	for whole := false; ; {
		chunk, err := answer.Recv()
		// go-openai says EOF for [DONE] and for a connection that closed early alike; a finish reason tells them apart.
		if errors.Is(err, io.EOF) && whole {
			return nil
		}
		if err != nil {
			return fmt.Errorf("this is not the whole answer: %w", err)
		}
		for _, choice := range chunk.Choices {
			fmt.Print(choice.Delta.Content)
			whole = whole || choice.FinishReason != ""
		}
	}
}
